"""One merge, written down by hand: our recipe YAML, or mergekit's.

    method: ties
    base: data/parents/pico-base
    parents: [data/parents/pico-a, data/parents/pico-b]   # or {id: a, path: runs/a}; the order counts
    parameters: {density: 0.2, weights: [0.6, 0.4]}       # what is left out takes the method's default
    output_dtype: bfloat16                                # the base's, if left out
    seed: 0                                               # keys the masks of the random methods

A method that takes no base may name one all the same: config.json and the tokenizer then come from there
instead of from the first parent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from stages.core.errors import BadRequest
from stages.core.records import document
from stages.core.records.files import sha256_bytes
from stages.core.records.recipe import Value
from stages.core.records.schema import nearest
from stages.core.weights import registry, scan
from stages.core.weights.fitting import FLOATS
from stages.core.weights.scan import BY_HAND
from stages.merge import mergekit

KEYS: Final = ("method", "base", "parents", "parameters", "output_dtype", "seed")
MOST_SEED: Final = 1 << 53  # beyond it JSON cannot carry an integer exactly


@dataclass(frozen=True)
class Named:
    """A checkpoint that a recipe names. id: as the recipe calls it; None leaves it to the card or folder."""

    folder: Path
    id: str | None = None


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as written, checked: every folder exists, every parameter is resolved.

    notes: in which ways the tool for which it was written may give another result. sha256: of the file.
    """

    method: str
    base: Named | None
    parents: tuple[Named, ...]
    parameters: Mapping[str, Value]
    output_dtype: str | None
    seed: int
    dialect: Literal["mergelab", "mergekit"]
    notes: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Folders:
    """Where the names of a recipe lead: by the mapping given, else to a folder, relative to `root`."""

    root: Path
    mapping: Mapping[str, Path]

    def find(self, name: str) -> Path | None:
        """The folder of `name`, absolute; None if there is none.

        Raises BadCheckpoint for one whose entries are no checkpoint's: nothing may open a file in it.
        """
        folder = self.mapping.get(name) or Path(name).expanduser()
        try:
            found = (self.root / folder).resolve()
            if not found.is_dir():
                return None
        except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, links in a circle
            return None
        missing = ("file-missing", "shard-missing", "index-missing")  # told where it matters
        scan.refuse([one for one in scan.outside(found, BY_HAND) if one.code not in missing], f"{found}/")
        return found


def folders(root: Path, models: Sequence[str]) -> Folders:
    """The mapping of options such as 'org/name=data/parents/a'. Raises BadRequest for one without '='."""
    wrong = [f"--models {text}: expected NAME=FOLDER" for text in models if not all(text.partition("="))]
    if wrong:
        raise BadRequest(wrong)
    return Folders(
        root.resolve(), {name: Path(folder) for name, _, folder in (text.partition("=") for text in models)}
    )


def load(path: Path, where: Folders) -> RecipeFile:
    """Read a recipe of either kind. Raises BadRequest with every problem, each with file and key."""
    data = document.data(path)
    try:
        tree = document.tree(data)
        if not isinstance(tree, dict):
            raise BadRequest([f"expected a map with the keys {', '.join(KEYS)}, got {str(tree)[:80]!r}"])
        if "merge_method" not in tree:
            return parse(tree, where, sha256=sha256_bytes(data))
        translated = mergekit.translate(tree, where.find)
        return parse(
            translated.tree,
            where,
            dialect="mergekit",
            notes=translated.notes,
            sha256=sha256_bytes(data),
        )
    except BadRequest as refused:
        raise BadRequest([f"{path}: {problem}" for problem in refused.problems]) from None


def parse(
    tree: Mapping[str, Any],
    where: Folders,
    *,
    sha256: str,
    dialect: Literal["mergelab", "mergekit"] = "mergelab",
    notes: tuple[str, ...] = (),
) -> RecipeFile:
    """The recipe of a plain tree of ours. Raises BadRequest with every problem, each with its key."""
    problems = list(_problems(tree))
    named = [_named(entry, f"parents[{n}]", where, problems) for n, entry in enumerate(_parents(tree))]
    base = tree.get("base")
    root = None if base is None else _named(base, "base", where, problems)
    parameters = tree.get("parameters") or {}
    method = str(tree.get("method"))
    if isinstance(parameters, dict):
        found = registry.problems(method, parameters, len(named))
        problems += [_with_key(problem, method) for problem in found]
    if method in registry.BY_NAME and registry.get(method).space == "delta" and base is None:
        problems.append(f"base: missing: {method} merges differences from a base")
    if problems:
        raise BadRequest(problems)
    return RecipeFile(
        method=method,
        base=root,
        parents=tuple(one for one in named if one),
        parameters=registry.resolve(method, parameters, len(named)),
        output_dtype=tree.get("output_dtype"),
        seed=tree.get("seed", 0),
        dialect=dialect,
        notes=notes,
        sha256=sha256,
    )


def _problems(tree: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the keys and the plain values."""
    for key in tree:
        if key not in KEYS:
            yield f"{key}: unknown key{nearest(str(key), KEYS)}"
    if "method" not in tree:
        yield "method: missing (a recipe of mergekit has merge_method instead)"
    if not isinstance(tree.get("parents"), list):
        yield f"parents: expected a list of folders, got {str(tree.get('parents'))[:80]!r}"
    if not isinstance(tree.get("parameters") or {}, dict):
        yield f"parameters: expected a map, got {str(tree['parameters'])[:80]!r}"
    dtype = tree.get("output_dtype")
    if dtype is not None and dtype not in FLOATS:
        yield f"output_dtype: expected one of {', '.join(FLOATS)}, got {str(dtype)[:80]!r}"
    seed = tree.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < MOST_SEED:
        yield f"seed: expected a whole number from 0 to 2^53 - 1, got {str(seed)[:80]!r}"


def _parents(tree: Mapping[str, Any]) -> list[Any]:
    found = tree.get("parents")
    return found if isinstance(found, list) else []


def _named(entry: Any, key: str, where: Folders, problems: list[str]) -> Named | None:
    """The checkpoint of one entry, a folder or {id, path}; None if it has a problem, which is added."""
    identifier = None
    if isinstance(entry, dict) and entry.keys() == {"id", "path"}:
        identifier, entry = entry["id"], entry["path"]
    if not isinstance(entry, str) or not isinstance(identifier, str | None):
        problems.append(f"{key}: expected a folder, or {{id: …, path: …}}, got {str(entry)[:80]!r}")
        return None
    folder = where.find(entry)
    if folder is None:
        problems.append(
            f"{key}: no folder {entry!r} here (looked in {where.root}). Correct it, or say where it is: "
            f"--models {entry}=FOLDER"
        )
        return None
    return Named(folder, identifier)


def _with_key(problem: str, method: str) -> str:
    """A problem of the registry with the key of this file: 'ties.density: …' stands at parameters.density."""
    return f"parameters.{problem.removeprefix(f'{method}.')}" if problem.startswith(f"{method}.") else problem
