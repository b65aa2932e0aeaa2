"""A candidate from its lineage alone, anywhere: no repository, no request, no store.

    rebuilt(Path("lineage.json"), [Path("models")], Path("merged"))    # every byte as recorded, or nothing
    verified(Path("lineage.json"), [Path("models")])

Parents are found by the digests that the lineage records, under whatever names they lie there.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from stages.core.errors import LabError
from stages.core.records import lineage as lineages
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.records.files import link_or_copy, sha256_file
from stages.core.records.lineage import Recorded
from stages.core.records.manifest import FileRecord, Manifest
from stages.core.weights import plan as plans
from stages.merge import by_hand, output_folder, rebuild
from stages.merge.build import Parent, Workshop, build
from stages.merge.rebuild import Verification

DEPTH: Final = 3  # folders below those given in which parents are looked for


def rebuilt(lineage: Path, parents: Sequence[Path], out: Path) -> Verification:
    """Merge what `lineage` records into `out`, the lineage beside it; only if every byte is as recorded.

    parents: folders that are, or hold, the parents. Raises LabError where one is not found (see `find`), the
    place is taken, or the lineage contradicts itself.
    """
    recorded = lineages.load(lineage)
    output_folder.free(out)
    shop, out = workshop(recorded, parents), out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.rebuild-", dir=out.parent) as scratch:
        built = Path(scratch)
        build(recorded.recipe, shop, built)
        found = rebuild.compared(recorded, built, lineage.parent)
        if not found.differing:
            with output_folder.draft(out) as draft:
                for name in (*recorded.files, manifests.NAME):
                    link_or_copy(built / name, draft / name)
                shutil.copyfile(lineage, draft / lineages.NAME)
    return found


def verified(lineage: Path, parents: Sequence[Path]) -> Verification:
    """The same in a temporary folder of which nothing is kept."""
    recorded = lineages.load(lineage)
    shop = workshop(recorded, parents)
    with tempfile.TemporaryDirectory(prefix="mergelab-verify-") as scratch:
        draft = Path(scratch, "draft")
        draft.mkdir()
        build(recorded.recipe, shop, draft)
        return rebuild.stated(recorded, draft, rebuild.compared(recorded, draft, lineage.parent))


def workshop(recorded: Recorded, parents: Sequence[Path]) -> Workshop:
    """Where the lineage is merged again: its materials wherever they lie, locked as merges by hand are."""
    materials = recorded.statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    family = tuple(_parent(material, find(material, parents)) for material in materials)
    plan = plans.plan(recorded.recipe, {parent.digest: parent.folder for parent in family})
    return Workshop(
        family=family,
        isolation=by_hand.ISOLATION,
        limits=by_hand.generous(plan.bytes_read + plan.bytes_written),
        environment={},
        threads=by_hand.THREADS,
    )


def find(material: Json, places: Sequence[Path]) -> Path:
    """The first folder at or below `places` whose files have the digests recorded for the material.

    Further files beside them do not matter: none is read. Raises LabError naming what was looked for.
    """
    files: Mapping[str, str] = material["annotations"]["files"]
    for folder in (found for place in places for found in _folders(place, DEPTH)):
        if _holds(folder, files):
            return folder
    looked = ", ".join(map(str, places)) or "no folder"
    raise LabError(
        f"no folder holds {material['name']!r} (digest {material['digest']['sha256'][:12]}…, files "
        f"{', '.join(sorted(files))}): looked in {looked} and {DEPTH} levels below. Links are not followed. "
        "Restore it, and name its place with --parents."
    )


def _holds(folder: Path, files: Mapping[str, str]) -> bool:
    """Whether the folder has exactly these bytes under these names; small files are hashed first."""
    paths = {folder / name: digest for name, digest in files.items()}
    if not all(path.is_file() and not path.is_symlink() for path in paths):
        return False
    return all(
        sha256_file(path) == paths[path] for path in sorted(paths, key=lambda path: path.stat().st_size)
    )


def _parent(material: Json, folder: Path) -> Parent:
    files: Mapping[str, str] = material["annotations"]["files"]
    records = {name: FileRecord(digest, (folder / name).stat().st_size) for name, digest in files.items()}
    return Parent(material["name"], material["annotations"]["role"], folder, Manifest(records), None)


def _folders(place: Path, depth: int) -> Iterator[Path]:
    """`place` and the folders below it, in the order of their names; none is entered through a link."""
    if not place.is_dir():
        return
    yield place
    if depth:
        for inner in sorted(place.iterdir()):
            if inner.is_dir() and not inner.is_symlink():
                yield from _folders(inner, depth - 1)
