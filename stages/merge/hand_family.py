"""The models of a merge made by hand: looked at before anything reads them, named, and hashed.

Each small file is read once: what was judged is what is compared and hashed, and what the merge carries over
is held against that hash.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import BadCheckpoint, BadRequest
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.records.files import sha256_bytes
from stages.core.records.manifest import FileRecord, Manifest
from stages.core.records.problem import Problem, refuse
from stages.core.weights import registry, scan
from stages.core.weights.plan import Plan
from stages.core.weights.scan import BY_HAND, Look
from stages.core.weights.scan.entries import readable
from stages.merge import alike, configuration
from stages.merge.build import Parent
from stages.merge.recipe_file import Named, RecipeFile


@dataclass(frozen=True)
class Model:
    """A checkpoint that a recipe names, as it was found.

    id: the recipe's name for it, else its card's, else its folder's. manifest: None where nobody has reviewed
    it, which takes a manifest and a card.
    """

    id: str
    role: str
    folder: Path
    found: Look
    manifest: Manifest | None

    @property
    def card(self) -> Json:
        """Its card; {} if nobody has reviewed it."""
        return self.found.trees[manifests.CARD] if self.manifest else {}


def look(read: RecipeFile) -> tuple[Model, ...]:
    """The base first, if there is one, then the parents; a folder that is both comes once.

    It is then a parent where weights are averaged, and the base where differences from it are.
    Raises BadCheckpoint with everything that is wrong in any of the folders, BadRequest for a card amiss.
    """
    named = list(_roles(read))
    folders = list(dict.fromkeys(one.folder for one, _ in named))
    refuse([problem for folder in folders for problem in _under(folder, scan.outside(folder, BY_HAND))])
    found = {folder: scan.look(folder, BY_HAND) for folder in folders}
    refuse([problem for folder in folders for problem in _under(folder, found[folder].problems)])
    return tuple(_model(one, role, found[one.folder]) for one, role in named)


def _roles(read: RecipeFile) -> Iterator[tuple[Named, str]]:
    parents = [one.folder for one in read.parents]
    if read.base:
        averaged = registry.get(read.method).space == "weight" and read.base.folder in parents
        yield read.base, "parent" if averaged else "base"
    for one in read.parents:
        if read.base is None or one.folder != read.base.folder:
            yield one, "parent"


def _under(folder: Path, problems: Sequence[Problem]) -> list[Problem]:
    """The problems with the folder's name in front."""
    return [Problem(one.code, one.file, f"{folder}/{one.message}") for one in problems]


def _model(one: Named, role: str, found: Look) -> Model:
    if manifests.NAME not in found.trees or manifests.CARD not in found.trees:
        return Model(one.id or one.folder.name, role, one.folder, found, None)
    from stages.core.records import card as cards  # where one is: models with cards take pydantic

    card = cards.parse(found.trees[manifests.CARD], str(one.folder / manifests.CARD))
    manifest = manifests.parse(found.trees[manifests.NAME], str(one.folder / manifests.NAME))
    return Model(one.id or card.id, role, one.folder, found, manifest)


def unreviewed(models: Sequence[Model], *, allowed: bool) -> tuple[str, ...]:
    """Ids of what has no card. Raises BadRequest naming all of it unless it is allowed; so for equal ids."""
    everything = {one.folder: one for one in models}
    lacking = [one for one in everything.values() if one.manifest is None]
    problems = [
        f"{one.id}: {one.folder} holds no {manifests.NAME} with a {manifests.CARD}: nobody has stated its "
        "licence and restrictions. Acquire it as a parent (conf/parents, `dvc repro parents`), or use "
        "--unreviewed: the lineage says so, and the result can never be a candidate"
        for one in ([] if allowed else lacking)
    ]
    listed = [one.id for one in everything.values()]
    problems += [
        f"{name}: two different folders have this name. Write {{id: …, path: …}} for one of them"
        for name in dict.fromkeys(name for name in listed if listed.count(name) > 1)
    ]
    if problems:
        raise BadRequest(problems)
    return tuple(one.id for one in lacking)


def unhashed(model: Model) -> list[Path]:
    """Its large files, whose digests no manifest tells; none of a model that has one."""
    if model.manifest:
        return []
    return [path for path in readable(model.folder, BY_HAND) if path.name not in model.found.documents]


def acquired(model: Model, digests: Mapping[Path, str]) -> Parent:
    """A parent with its manifest and card; without a card, with a manifest made now. digests: of `unhashed`.

    Raises BadCheckpoint (`file-altered`) if a small file is not the one of its manifest.
    """
    manifest = model.manifest or _hashed(model, digests)
    for name in model.found.documents:
        if name in manifest.files and model.found.digest(name) != manifest.files[name].sha256:
            told = f"expected sha256 {manifest.files[name].sha256}, got {model.found.digest(name)}"
            raise BadCheckpoint(
                "file-altered",
                f"{model.folder / name} is not what its manifest says: {told}. Acquire it again.",
            )
    return Parent(model.id, model.role, model.folder, manifest, model.card)


def provisional(model: Model) -> Parent:
    """The same without hashing anything: its digest is that of its path where it has no card."""
    stand_in = Manifest({"unhashed": FileRecord(sha256_bytes(str(model.folder).encode()), 0)})
    return Parent(model.id, model.role, model.folder, model.manifest or stand_in, model.card)


def _hashed(model: Model, digests: Mapping[Path, str]) -> Manifest:
    """The manifest that acquiring would give it, but for what a lenient scan passes over."""
    files = {}
    for path in readable(model.folder, BY_HAND):
        if path.name in model.found.documents:
            record = FileRecord(model.found.digest(path.name), len(model.found.documents[path.name]))
        else:
            record = FileRecord(digests[path], path.stat().st_size)
        files[path.name] = record
    return Manifest({name: record for name, record in files.items() if name not in manifests.BESIDE})


def check_alike(models: Sequence[Model], method: str) -> None:
    """Raises BadRequest for every token and setting in which the models differ.

    The number of layers may, where a path is laid through them.
    """
    but = configuration.DEPTHS if registry.get(method).route == "layer_path" else ()
    if problems := alike.differences({model.id: model.found.trees for model in models}, but=but):
        raise BadRequest([f"{problem}. Choose models of one family" for problem in problems])


def check_described(plan: Plan, models: Sequence[Model]) -> None:
    """Raises Unmergeable if no config.json can describe the result, as the merge itself would."""
    first = models[0].found.documents.get(configuration.NAME)
    if first is not None:
        trees = {provisional(model).digest: model.found.trees.get(configuration.NAME) for model in models}
        configuration.written(first, plan, [trees[given.digest] for given in plan.inputs])
