"""Copy a parent while hashing it, scan the copy, describe it, and publish it whole or not at all.

Nothing reads the source after the copy: a file swapped between check and use cannot matter. A LoRA adapter is
copied and scanned in the same way, and the parent is then made of that copy and of its base's.
"""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from stages.conf import Member
from stages.core.errors import BadCheckpoint, BadRequest, LabError
from stages.core.records import card as cards
from stages.core.records import manifest as manifests
from stages.core.records.canonical import pretty, read_json, write_json
from stages.core.records.files import copy_hashed, publish
from stages.core.records.manifest import BESIDE, FileRecord, Manifest
from stages.core.records.source import LocalPath, Repository
from stages.core.weights import scan
from stages.parents import sources
from stages.parents.adapters import merge_into_base

LEFT_BEHIND: Final = frozenset({manifests.NAME, "README.md"})  # written anew; for readers of the source


def acquire(members: Mapping[str, Member], root: Path, output: Path) -> dict[str, Manifest]:
    """Make `output` hold exactly these members, each as `output`/<id>/; id → manifest, in the order given.

    members: a base before the adapters on it. All of them are fetched and judged before the first is
    published. Raises BadCheckpoint with every member's problems and the first one's code, LabError if the
    disk is full, a file vanishes or a place cannot be reached; then `output` is as it was.
    """
    output.mkdir(parents=True, exist_ok=True)
    drafts = {name: output / f".{name}.{secrets.token_hex(4)}.part" for name in members}
    refusals: list[BadCheckpoint] = []
    acquired: dict[str, Manifest] = {}
    try:
        for name, member in members.items():
            try:
                acquired[name] = _draft(name, member, root, drafts, acquired)
            except BadCheckpoint as refusal:
                refusals.append(refusal)
        _raise_all(refusals)
        for name, draft in drafts.items():
            publish(draft, output / name)
        _remove_others(output, members)
    except OSError as problem:
        raise LabError(
            f"cannot acquire the parents: {problem}. Nothing was changed; run it again."
        ) from problem
    finally:
        for draft in drafts.values():
            shutil.rmtree(draft, ignore_errors=True)
    return acquired


def _draft(
    identifier: str, member: Member, root: Path, drafts: Mapping[str, Path], acquired: Mapping[str, Manifest]
) -> Manifest:
    """Fill the draft of one member. Raises BadCheckpoint on the first step with problems."""
    draft = drafts[identifier]
    if member.adapter_on is None:
        draft.mkdir()
        manifest = _copied(identifier, member, root, draft)
    else:
        if member.adapter_on not in acquired:
            raise BadCheckpoint("adapter-base", f"{identifier}: its base {member.adapter_on} was refused.")
        with TemporaryDirectory(prefix=f".{identifier}.", suffix=".part", dir=draft.parent) as place:
            own = _copied(identifier, member, root, Path(place))
            base = drafts[member.adapter_on], acquired[member.adapter_on]
            manifest = merge_into_base(identifier, (Path(place), own), base, draft)
    _check_card(identifier, draft, manifest)
    for name in LEFT_BEHIND:
        (draft / name).unlink(missing_ok=True)
    write_json(draft / manifests.NAME, manifest.to_json())
    return manifest


def _copied(identifier: str, member: Member, root: Path, draft: Path) -> Manifest:
    """Fill the folder `draft` from the member's source, scan it there, and compare it with its digests."""
    layout = scan.MODEL if member.adapter_on is None else scan.ADAPTER
    work = sources.work_folder(root)
    work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="lent-", dir=work) as lent:
        folder = sources.bring(identifier, member.source, root, Path(lent), layout)
        scan.refuse(scan.outside(folder, layout), f"{identifier}/")
        files = {
            path.name: FileRecord(*copy_hashed(path, draft / path.name)) for path in sorted(folder.iterdir())
        }
    if member.card is not None:
        (draft / cards.NAME).unlink(missing_ok=True)
        copy_hashed(root / member.card, draft / cards.NAME)
    manifest = Manifest({name: record for name, record in files.items() if name not in BESIDE})
    _scan(identifier, draft, layout, manifest)
    _check_digest(identifier, member, draft, files, manifest)
    return manifest


def _scan(identifier: str, draft: Path, layout: scan.Layout, manifest: Manifest) -> None:
    """Judge the copy, of which each small file must then be the bytes that were hashed while it was made."""
    scan.refuse(scan.outside(draft, layout), f"{identifier}/")
    found = scan.look(draft, layout)
    scan.refuse(found.problems, f"{identifier}/")
    for name in found.documents:
        if name in manifest.files and found.digest(name) != manifest.files[name].sha256:
            raise BadCheckpoint(
                "changed-while-read", f"{identifier}: the copy of {name} was written to. Run the stage again."
            )


def _check_digest(
    identifier: str, member: Member, draft: Path, files: Mapping[str, FileRecord], manifest: Manifest
) -> None:
    """Compare with the digests in the request, and with the manifest that the source may bring along."""
    source = member.source
    if isinstance(source, Repository | LocalPath):
        _check_folder(identifier, source, manifest)
        where = source.path
    else:
        where = sources.connect(source).where
        for name, sha in source.files.items():
            if files[name].sha256 != sha:
                raise BadCheckpoint(
                    "source-digest",
                    f"{identifier}: {name} changed while it was copied: expected sha256 {sha}, got "
                    f"{files[name].sha256}. Run the stage again.",
                )
    stated = draft / manifests.NAME
    if stated.exists() and read_json(stated) != manifest.to_json():
        raise BadCheckpoint(
            "manifest-mismatch",
            f"{identifier}: {manifests.NAME} in {where} does not describe the files beside it. "
            "Restore them, or remove it.",
        )


def _check_folder(identifier: str, source: Repository | LocalPath, manifest: Manifest) -> None:
    if source.digest is None and isinstance(source, LocalPath):
        raise BadCheckpoint(
            "digest-missing",
            f"{identifier}: nothing records changes of {source.path}, so its digest must be in the request. "
            f"If the folder is what you mean, set parents.members.{identifier}.source.digest to "
            f"{manifest.digest}.",
        )
    if source.digest not in (None, manifest.digest):
        raise BadCheckpoint(
            "source-digest",
            f"{identifier}: {source.path} is not the artifact asked for: expected digest {source.digest}, "
            f"got {manifest.digest}. Restore its files, or review the new ones and change "
            f"parents.members.{identifier}.source.digest.",
        )


def _check_card(identifier: str, draft: Path, manifest: Manifest) -> None:
    """The card is there, and this parent's; that of an adapter gets its origin."""
    path = draft / cards.NAME
    if not path.exists():
        raise BadCheckpoint(
            "card-missing",
            f"{identifier} has no {cards.NAME}: nobody has said what it is and what it may be used for. "
            "Write one beside its weights; each null and empty string stands for something unknown "
            "(for a source that is not yours: in data/sources, named by "
            f"parents.members.{identifier}.card):\n"
            f"{pretty(cards.template(identifier))}",
        )
    try:
        card = cards.load(path)
    except BadRequest as refusal:
        lines = [problem.replace(str(draft), identifier) for problem in refusal.problems]
        raise BadCheckpoint("card", "\n".join(lines)) from refusal
    if card.id != identifier:
        raise BadCheckpoint(
            "card-id", f"{identifier}/{cards.NAME} is the card of {card.id!r}. Rename one of them."
        )
    origin = manifest.adapter
    known = cards.Adapter(digest=origin.digest, base=origin.base) if origin else None
    if card.adapter not in (None, known):
        raise BadCheckpoint(
            "card-adapter",
            f"{identifier}/{cards.NAME}: adapter is {card.adapter}, expected {known}. Correct it, or leave "
            "it out.",
        )
    if known:
        write_json(path, card.model_copy(update={"adapter": known}).to_json())


def _raise_all(refusals: Sequence[BadCheckpoint]) -> None:
    if len(refusals) == 1:
        raise refusals[0]
    if refusals:
        lines = "\n".join(str(refusal) for refusal in refusals)
        raise BadCheckpoint(refusals[0].code, f"{len(refusals)} parents were refused:\n{lines}")


def _remove_others(output: Path, members: Mapping[str, Member]) -> None:
    """Parents of an earlier request and drafts of a killed run: `output` is this stage's alone."""
    for path in output.iterdir():
        if path.name not in members:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
