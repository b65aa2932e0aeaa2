"""Fetch once what nobody has pinned yet, and print what to pin: `mergelab parents pin`.

Trust on first use is a person's decision: it is asked for by its own command, what it prints is compared with
what the model's makers publish, and git keeps who committed it. No other code takes bytes without a digest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml
from pydantic import ValidationError

from stages.core.errors import BadCheckpoint, BadRequest
from stages.core.progress import transfer
from stages.core.records import document
from stages.core.records import manifest as manifests
from stages.core.records.manifest import Manifest
from stages.core.records.schema import Section, explain
from stages.core.records.source import LocalPath, Repository, Source
from stages.core.weights import scan
from stages.core.weights.scan import ADAPTER, MODEL, Layout
from stages.parents import sources
from stages.parents.sources.kind import Remote
from stages.parents.sources.store import Store

LEFT: Final = "README.md"  # for readers; never taken


@dataclass(frozen=True)
class Pinned:
    """A source with its digests, as the request wants it.

    left: files of the source that no artifact has, and that are never asked for.
    """

    source: dict[str, Any]
    manifest: Manifest
    left: Sequence[str]

    def text(self) -> str:
        """YAML to paste under parents.members.<id>, after what to compare it with."""
        files = self.manifest.files
        lines = [
            f"# {len(files)} files, {sum(record.bytes for record in files.values()):,} bytes, manifest digest"
        ]
        lines += [f"# {self.manifest.digest}"]
        lines += [f"# left alone: {', '.join(self.left)}"] if self.left else []
        return "\n".join(lines) + "\n" + yaml.safe_dump({"source": self.source}, sort_keys=False, width=110)


def pin(text: str, root: Path) -> Pinned:
    """What to pin for the source in `text`, YAML such as '{kind: hub, repo: org/name, commit: …}'.

    What is fetched is scanned as it is when a parent is acquired, and kept, so that acquiring it needs no
    network. Raises BadRequest for a source that is none, BadCheckpoint for files that no parent may have.
    """
    source = _parse(text)
    tree = source.model_dump(exclude={"digest", "files"})
    if isinstance(source, Repository | LocalPath):
        folder = sources.locate("the source", source, root)
        _scan(folder, _layout([path.name for path in folder.iterdir()]))
        manifest = manifests.describe(folder)
        return Pinned(tree | {"digest": manifest.digest}, manifest, ())
    with TemporaryDirectory(prefix="lent-", dir=_made(sources.work_folder(root))) as lent:
        files, left = _fetch(sources.connect(source), Store(sources.work_folder(root)), Path(lent))
        manifest = manifests.describe(Path(lent))
    return Pinned(tree | {"files": files}, manifest, left)


class _Asked(Section):
    source: Source


def _parse(text: str) -> Source:
    try:
        told = document.tree(text.encode("utf-8", "surrogateescape"), "the source: ")
        return _Asked.model_validate({"source": told}).source
    except ValidationError as failure:
        raise BadRequest(list(explain(failure, _Asked, "source"))) from None


def _fetch(remote: Remote, store: Store, folder: Path) -> tuple[dict[str, str], list[str]]:
    """Name → sha256 of everything worth taking, put into `folder` and the store; and the names left alone."""
    listed = remote.listing()
    layout = _layout(listed)
    taken = sorted(name for name in listed if layout.lists(name) and name != LEFT)
    offers = [remote.look(name) for name in taken]
    named = [fault for offer in offers for fault in scan.named(offer.name, offer.bytes, layout)]
    scan.refuse(named, f"{remote.where}/")
    with store.alone(), transfer("fetching", sum(offer.bytes for offer in offers)) as grew:
        for offer in offers:
            remote.download(offer, folder / offer.name, grew)
        _scan(folder, layout)
        files = {offer.name: store.keep(folder / offer.name) for offer in offers}
        for offer in offers:
            if offer.sha256 not in (None, files[offer.name]):
                raise BadCheckpoint(
                    "source-digest",
                    f"{offer.name} of {remote.where}: it states sha256 {offer.sha256}, its bytes give "
                    f"{files[offer.name]}. Do not use it.",
                )
    store.lend(files, folder)
    return files, sorted(listed.keys() - files.keys())


def _layout(names: Any) -> Layout:
    return ADAPTER if ADAPTER.holds(names) and not MODEL.holds(names) else MODEL


def _scan(folder: Path, layout: Layout) -> None:
    scan.refuse(scan.outside(folder, layout) or scan.look(folder, layout).problems, "the source/")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
