"""Candidates from nothing but their lineage: what `mergelab verify` and `mergelab rebuild` do."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records import lineage as lineages
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json
from stages.core.records.files import publish
from stages.core.weights import plan as plans
from stages.core.weights.reader import compare
from stages.merge import model_card
from stages.merge.build import BUILT, Workshop, arithmetic, build
from stages.merge.memory import Memory
from stages.merge.store import place


@dataclass(frozen=True)
class Verification:
    """One candidate built again. differing: files and tensors that came out otherwise; empty means MATCH.

    because: where they differ and the recorded linear algebra library is not this machine's, both by name.
    """

    id: str
    differing: Sequence[str]
    because: str = ""


def identifiers(candidates: Path) -> list[str]:
    """Every candidate of data/candidates, in sorted order."""
    return sorted(path.parent.name for path in candidates.glob(f"*/{lineages.NAME}"))


def find(candidates: Path, prefix: str) -> str:
    """The one candidate whose id begins with `prefix`. Raises LabError if there is none, or several."""
    found = [name for name in identifiers(candidates) if name.startswith(prefix)]
    if len(found) != 1:
        known = ", ".join(found or identifiers(candidates)) or "none yet: run `mergelab run`"
        raise LabError(
            f"expected one candidate whose id begins with {prefix!r}, got {len(found)} (known: {known})"
        )
    return found[0]


def verify(candidates: Path, identifier: str, workshop: Workshop) -> Verification:
    """Rebuild a candidate in a temporary folder and compare bytes and arithmetic with its lineage.

    Nothing is changed.

    Where the weights in `candidates` are still those of the lineage, differing tensors are named, else files.
    """
    recorded = lineages.load(candidates / identifier / lineages.NAME)
    with tempfile.TemporaryDirectory(prefix="mergelab-verify-") as scratch:
        draft = Path(scratch, "draft")
        draft.mkdir()
        build(recorded.recipe, _forgetful(workshop), draft)
        return stated(recorded, draft, compared(recorded, draft, candidates / identifier))


def rebuild(candidates: Path, identifier: str, workshop: Workshop) -> Verification:
    """Rebuild a candidate and, if every byte is as recorded, put its weights back beside its lineage."""
    recorded = lineages.load(candidates / identifier / lineages.NAME)
    if workshop.quota is not None:
        folders = {digest: parent.folder for digest, parent in workshop.sources(recorded.recipe).items()}
        workshop.quota.make_room(plans.plan(recorded.recipe, folders).bytes_written, keep=(identifier,))
    with tempfile.TemporaryDirectory(prefix=".rebuild-", dir=candidates.parent) as scratch:
        draft, whole = Path(scratch, "draft"), Path(scratch, "whole")
        draft.mkdir()
        build(recorded.recipe, _forgetful(workshop), draft)
        verification = compared(recorded, draft, candidates / identifier)
        if not verification.differing:
            place(draft, whole)
            for beside in (lineages.NAME, model_card.NAME):
                if (candidates / identifier / beside).is_file():
                    shutil.copyfile(candidates / identifier / beside, whole / beside)
            publish(whole, candidates / identifier)
    return verification


def _forgetful(workshop: Workshop) -> Workshop:
    """The workshop without its memory: every digest is taken and every statistic measured again."""
    return replace(workshop, memory=Memory())


def compared(recorded: lineages.Recorded, built: Path, kept: Path) -> Verification:
    """Whether the files merged again in `built` are those that the lineage records.

    kept: where the recorded ones may lie, so that differing tensors can be named.
    """
    identifier = recorded.recipe.id
    differing = _differing(built, recorded.files, kept)
    notes = _arithmetic(recorded).get("notes", {})
    theirs, ours = _libraries(notes), _libraries(read_json(built / BUILT)["notes"])
    if not differing or theirs == ours:
        return Verification(identifier, differing)
    return Verification(
        identifier,
        differing,
        f"it was made with {theirs} and rebuilt with {ours}: the last bits of {recorded.recipe.method} "
        "depend on the library (numerics.py, number 9). Verify it where it was made, or merge anew",
    )


def stated(recorded: lineages.Recorded, built: Path, found: Verification) -> Verification:
    """`found`; or, where every byte is as recorded, what the lineage says otherwise of the arithmetic."""
    theirs, ours = _arithmetic(recorded), arithmetic(read_json(built / BUILT))
    keys = [
        key for key in sorted(theirs | ours) if _without_library(theirs, key) != _without_library(ours, key)
    ]
    if found.differing or not keys:
        return found
    return Verification(
        found.id,
        [f"{lineages.NAME}: {key}" for key in keys],
        "every byte is as recorded, but the statement does not say what this version says of the same merge: "
        "it was edited, or written by another version. Restore it, or merge anew",
    )


def _arithmetic(recorded: lineages.Recorded) -> dict[str, Json]:
    internal = recorded.statement["predicate"]["buildDefinition"]["internalParameters"]
    return dict(internal["arithmetic"])


def _without_library(told: Mapping[str, Json], key: str) -> Json:
    """The entry without the names of linear algebra libraries, which differ where the bytes need not."""
    if key != "notes" or not isinstance(told.get(key), dict):
        return told.get(key, "absent")
    return {
        name: {part: value for part, value in note.items() if part != "lapack"}
        if isinstance(note, dict)
        else note
        for name, note in told[key].items()
    }


def _libraries(notes: Mapping[str, Json]) -> str:
    """The linear algebra that the notes name, as the spectral methods write them; 'none' if no note does."""
    found = {str(note["lapack"]) for note in notes.values() if isinstance(note, dict) and "lapack" in note}
    return " and ".join(sorted(found)) or "none"


def _differing(built: Path, recorded: Mapping[str, str], kept: Path) -> list[str]:
    """Files whose sha256 is not the recorded one; for weights that can be compared, the tensors in them."""
    found = manifests.describe(built)
    found_digests = {name: record.sha256 for name, record in found.files.items()}
    names = [
        name
        for name in sorted(found_digests.keys() | recorded.keys())
        if found_digests.get(name) != recorded.get(name)
    ]
    if not any(name.endswith(".safetensors") for name in names):
        return names
    try:
        manifests.check(kept, manifests.load(kept))
        return compare(built, kept) or names
    except LabError:
        return names  # the kept weights are gone or altered themselves: only the file can be named
