"""A recipe file turned into configuration: conf/parents/<id>.yaml and conf/experiment/<id>.yaml.

The pipeline then does with it what it does with any request: acquires the parents, judges whether they may be
merged, makes this one merge, and evaluates it beside them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from stages.core.errors import BadRequest
from stages.core.records import card as cards
from stages.core.records.card import Card
from stages.core.records.files import write_text
from stages.core.records.recipe import plain
from stages.core.weights import registry, scan
from stages.core.weights.scan import BY_HAND
from stages.merge import recipe_file
from stages.merge.recipe_file import RecipeFile
from stages.merge.stage import dtype_of

Check = Callable[[Path, list[str]], object]
NAME: Final = r"[a-z0-9][a-z0-9-]{0,62}"
SUITE: Final = Path("conf/suite/shipped.yaml")
HEAD: Final = "# Imported from {file} by `mergelab import`.\n"


@dataclass(frozen=True)
class Imported:
    """What was written, relative to the repository, and what to know about it."""

    files: tuple[str, ...]
    command: str
    notes: tuple[str, ...]

    def text(self) -> str:
        """The same for people."""
        lines = [f"{name} written" for name in self.files] + [f"  note: {note}" for note in self.notes]
        return "\n".join([*lines, f"next: {self.command}"])


@dataclass(frozen=True)
class _Member:
    """One model of the family, by its card."""

    card: Card
    folder: Path


def run(root: Path, recipe: Path, identifier: str | None, models: Sequence[str], *, check: Check) -> Imported:
    """What `mergelab import` does: read `recipe`, folders relative to the current one, and `write` it.

    identifier: of the experiment; None takes the name of the file.
    """
    name = identifier or re.sub(r"[^a-z0-9]+", "-", recipe.stem.lower()).strip("-")
    return write(recipe_file.load(recipe, recipe_file.folders(Path.cwd(), models)), root, name, recipe, check)


def write(read: RecipeFile, root: Path, identifier: str, recipe: Path, check: Check) -> Imported:
    """Write both files under `root`/conf, unless `check` then finds the request wrong.

    recipe: named in a comment. check: composes overrides in `root`; what it raises is passed on, and the
    files are gone again.
    Raises BadRequest for everything that a pipeline cannot do with this recipe, and if a file is there.
    """
    if not re.fullmatch(NAME, identifier):
        raise BadRequest([f"--id {identifier!r}: expected lower-case letters, digits, hyphens, at most 63"])
    paths = [root / "conf" / group / f"{identifier}.yaml" for group in ("parents", "experiment")]
    taken = [f"{path} exists: nothing is overwritten. Choose another --id" for path in paths if path.exists()]
    base, parents, problems = _family(read)
    problems += taken
    if base and read.output_dtype not in (None, dtype_of(base.folder)):
        problems.append(
            f"output_dtype: the pipeline writes the type of the base, {dtype_of(base.folder)}; this asks for "
            f"{read.output_dtype}. Leave it out, or use `mergelab merge`"
        )
    if problems or base is None:
        raise BadRequest(problems)
    trees = _parents(base, parents, root), _experiment(read, identifier, parents, root)
    try:
        for path, tree in zip(paths, trees, strict=True):
            head = "# @package _global_\n" if path.parent.name == "experiment" else ""
            text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)
            write_text(path, head + HEAD.format(file=recipe.name) + text)
        check(root, [f"experiment={identifier}"])
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    files = tuple(str(path.relative_to(root)) for path in paths)
    return Imported(files, f"mergelab run experiment={identifier}", read.notes)


def _family(read: RecipeFile) -> tuple[_Member | None, list[_Member], list[str]]:
    """The base, the parents, and every reason why they are no family for a pipeline."""
    problems: list[str] = []
    parents = [member for one in read.parents if (member := _member(one.folder, problems))]
    merged = [member.folder for member in parents]
    ids = [member.card.id for member in parents]
    problems += [f"{name}: two parents have this id on their cards. Correct one" for name in _twice(ids)]
    base: _Member | None = None
    if read.base and read.base.folder not in merged:
        base = _member(read.base.folder, problems)
    elif parents:
        base = _stated_base(parents, problems)
    if base and base.card.id in ids:
        why = "the pipeline compares merges with a base that is not merged itself. Use `mergelab merge`"
        problems.append(f"{base.card.id}: it is the base and a parent; {why}")
    return base, parents, problems


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _member(folder: Path, problems: list[str]) -> _Member | None:
    """Raises BadCheckpoint for a folder that nothing may read."""
    scan.refuse(scan.outside(folder, BY_HAND) or scan.look(folder, BY_HAND).problems, f"{folder}/")
    if not (folder / cards.NAME).is_file():
        problems.append(f"{folder}: no {cards.NAME}. Write one: the pipeline merges no parent without it")
        return None
    try:
        return _Member(cards.load(folder / cards.NAME), folder)
    except BadRequest as refused:
        problems += refused.problems
        return None


def _stated_base(parents: Sequence[_Member], problems: list[str]) -> _Member | None:
    """The base that the first parent's card names, if it lies beside it or the parent is that base itself."""
    first = parents[0]
    name = first.card.base or first.card.id
    beside = first.folder.parent / name
    if beside.is_dir() and (found := _member(beside, [])) and found.card.id == name:
        return found
    if same := next((member for member in parents if member.card.id == name), None):
        return same
    problems.append(
        f"base: the pipeline compares with the base, and {name!r} is not beside {first.folder}. Write base "
        "(base_model in mergekit's YAML)"
    )
    return None


def _parents(base: _Member, parents: Sequence[_Member], root: Path) -> dict[str, Any]:
    return {
        "base": base.card.id,
        "merge": [member.card.id for member in parents],
        "members": {member.card.id: {"source": _source(member.folder, root)} for member in (base, *parents)},
        "complementarity": "; ".join(_niche(member.card) for member in parents),
        "intent": "research",
    }


def _source(folder: Path, root: Path) -> dict[str, str]:
    home = root.resolve()
    if folder.is_relative_to(home):
        return {"kind": "repository", "path": str(folder.relative_to(home))}
    return {"kind": "path", "path": str(folder)}


def _niche(card: Card) -> str:
    return f"{card.id}: {card.niche.statement if card.niche else 'no niche stated'}"


def _experiment(read: RecipeFile, identifier: str, parents: Sequence[_Member], root: Path) -> dict[str, Any]:
    """The stated values alone: one candidate, nothing searched."""
    names = " and ".join(member.card.id for member in parents)
    values = {name: {"value": plain(value), "search": None} for name, value in read.parameters.items()}
    found = {
        "defaults": [{"override /parents": identifier}, {"override /method": [read.method]}],
        "experiment": {
            "id": identifier,
            "title": f"{names} by {read.method}",
            "question": f"Does this one merge by {read.method} keep what {names} can do?",
        },
        "method": {read.method: values},
        "budget": {"candidates": 1},
        "seed": read.seed if registry.get(read.method).random else 0,
    }
    tasks = _tasks(root, {member.card.niche.skill: member.card.id for member in parents if member.card.niche})
    return found | ({"suite": {"tasks": tasks}} if tasks else {})


def _tasks(root: Path, niches: Mapping[str, str]) -> dict[str, dict[str, str | None]]:
    """Tasks of the default suite whose niche belongs to another parent here, or to none."""
    suite = yaml.safe_load((root / SUITE).read_text(encoding="utf-8"))
    return {
        name: {"parent": niches.get(task.get("skill", name))}
        for name, task in suite["tasks"].items()
        if task.get("parent") and task["parent"] != niches.get(task.get("skill", name))
    }
