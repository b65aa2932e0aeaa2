"""The models of a merge made by hand: which have a card, what they are called, what they hash to."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.core.errors import BadCheckpoint, BadRequest
from stages.core.records import manifest as manifests
from stages.core.records.files import sha256_bytes
from stages.core.records.manifest import FileRecord, Manifest
from stages.core.records.seen import Seen
from stages.core.weights import registry
from stages.core.weights.plan import Plan
from stages.merge import alike, configuration
from stages.merge.build import Parent, acquire
from stages.merge.recipe_file import Named, RecipeFile


def roles(read: RecipeFile) -> Iterator[tuple[Named, str]]:
    """The base first, if there is one, then the parents; a folder that is both comes once.

    It is then a parent where weights are averaged, and the base where differences from it are.
    """
    parents = [one.folder for one in read.parents]
    if read.base:
        averaged = registry.get(read.method).space == "weight" and read.base.folder in parents
        yield read.base, "parent" if averaged else "base"
    for one in read.parents:
        if read.base is None or one.folder != read.base.folder:
            yield one, "parent"


def _reviewed(folder: Path) -> bool:
    return (folder / manifests.NAME).is_file() and (folder / manifests.CARD).is_file()


def _identifier(one: Named) -> str:
    """The recipe's name for it, else its card's, else its folder's. Raises BadRequest for a card amiss."""
    if not _reviewed(one.folder):
        return one.id or one.folder.name
    from stages.core.records import card as cards

    card = cards.load(one.folder / manifests.CARD)
    return one.id or card.id


def unreviewed(read: RecipeFile, *, allowed: bool) -> tuple[str, ...]:
    """Ids of what has no card. Raises BadRequest naming all of it unless it is allowed; so for equal ids."""
    everything = {one.folder: one for one, _ in roles(read)}
    names = {folder: _identifier(one) for folder, one in everything.items()}
    lacking = [folder for folder in everything if not _reviewed(folder)]
    problems = [
        f"{names[folder]}: {folder} holds no {manifests.NAME} with a {manifests.CARD}: nobody has stated its "
        "licence and restrictions. Acquire it as a parent (conf/parents, `dvc repro parents`), or use "
        "--unreviewed: the lineage says so, and the result can never be a candidate"
        for folder in ([] if allowed else lacking)
    ]
    listed = list(names.values())
    problems += [
        f"{name}: two different folders have this name. Write {{id: …, path: …}} for one of them"
        for name in dict.fromkeys(name for name in listed if listed.count(name) > 1)
    ]
    if problems:
        raise BadRequest(problems)
    return tuple(names[folder] for folder in lacking)


def acquired(one: Named, role: str, digests: Seen) -> Parent:
    """A parent with its manifest and card; without a card, with a manifest computed now or remembered."""
    if _reviewed(one.folder):
        return acquire(one.folder, _identifier(one), role)
    return Parent(_identifier(one), role, one.folder, _hashed(one.folder, digests), {})


def provisional(one: Named, role: str) -> Parent:
    """The same without hashing anything: its digest is that of its path where it has no card."""
    if _reviewed(one.folder):
        return acquire(one.folder, _identifier(one), role)
    stand_in = Manifest({"unhashed": FileRecord(sha256_bytes(str(one.folder).encode()), 0)})
    return Parent(_identifier(one), role, one.folder, stand_in, {})


def _hashed(folder: Path, digests: Seen) -> Manifest:
    """The manifest that acquiring would give it, but for folders inside, which downloads leave there.

    Raises BadCheckpoint for a symbolic link: its target may be another file by the time it is read.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name in manifests.BESIDE or path.name.startswith(".") or path.is_dir():
            continue
        if path.is_symlink() or not path.is_file():
            raise BadCheckpoint("not-a-file", f"{path} is no regular file. Copy its target there.")
        files[path.name] = FileRecord(digests.digest(path), path.stat().st_size)
    return Manifest(files)


def check_alike(family: Sequence[Parent], method: str) -> None:
    """Raises BadRequest for every token and setting in which the models differ.

    The number of layers may, where a path is laid through them.
    """
    but = configuration.DEPTHS if registry.get(method).route == "layer_path" else ()
    if problems := alike.differences({parent.id: parent.folder for parent in family}, but=but):
        raise BadRequest([f"{problem}. Choose models of one family" for problem in problems])


def check_described(plan: Plan, family: Sequence[Parent]) -> None:
    """Raises Unmergeable if no config.json can describe the result, as the merge itself would."""
    path = family[0].folder / configuration.NAME
    if path.is_file():
        folders = {parent.digest: parent.folder for parent in family}
        parents = [configuration.stated(folders[given.digest]) for given in plan.inputs]
        configuration.written(path.read_bytes(), plan, parents)
