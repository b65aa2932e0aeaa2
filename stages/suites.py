"""Suites as people begin and read them: from a file of one's own questions to conf/suite, and as a table.

Only what a person decides is written: conf/suite/NAME.yaml, a task file of lm-eval, and a copy of the
questions where the stages look for them. Nothing that exists is written over.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.table import Table

from stages import tasks
from stages.conf import NAME, Parents, Suite
from stages.core.errors import BadRequest
from stages.core.records import document
from stages.core.records.canonical import Json
from stages.core.records.files import sha256_file, write_text
from stages.core.records.policy import Policy
from stages.core.scoring import datafile
from stages.core.scoring.cases import TaskPlan
from stages.core.scoring.skills import KINDS, skill_named
from stages.core.scoring.skills.items import Item

SUITES = Path("conf/suite")
FORM_OF = {"calibration": "choice", "canary": "canary", "perplexity": "rolling", "refusal": "refusal"}
USUAL = "exact_answer"
MOST = {"calibration": 40, "search": 40, "selection": 40, "hidden": 200}  # items a split, however long a file


@dataclass(frozen=True)
class Wanted:
    """What is to be begun. niche: the parent it is for; beside: the suite that it is added to, if any."""

    name: str
    data: Path
    kind: str
    niche: str | None
    beside: str | None
    form: str | None


@dataclass(frozen=True)
class Begun:
    """What was written, and how many items and independent questions each split gets."""

    files: Sequence[Path]
    items: Mapping[str, int]
    hidden_questions: int
    needed: int
    suite: str

    def text(self) -> str:
        """For a terminal: the files, the numbers, and what to do next."""
        counts = ", ".join(f"{split} {number}" for split, number in self.items.items())
        return "\n".join(
            [
                *(f"wrote {path}" for path in self.files),
                f"items: {counts}; {self.hidden_questions} hidden questions that rise and fall by themselves "
                f"(the policy needs {self.needed})",
                "next:",
                f"  1. read {self.files[0]} and the task file beside it; describe what the questions ask",
                f"  2. mergelab suite show {self.suite}",
                "  3. mergelab check",
                f"  4. mergelab parents measure suite={self.suite} --write   (a card is of one suite)",
                f"  5. mergelab run suite={self.suite}",
            ]
        )

    def to_json(self) -> Json:
        """The same for a program."""
        return {
            "files": [str(path) for path in self.files],
            "items": dict(self.items),
            "hidden_questions": self.hidden_questions,
            "needed": self.needed,
            "suite": self.suite,
        }


def new(root: Path, wanted: Wanted, policy: Policy) -> Begun:
    """Write conf/suite/<name>.yaml, conf/suite/lm_eval/<name>.yaml and conf/suite/data/<name>.<ending>.

    The task file is that of the form, under the new name, to be edited. Raises BadRequest with everything
    that is wrong: names, files that exist, each line, and too few of them for the policy.
    """
    form = wanted.form or FORM_OF.get(wanted.kind, USUAL)
    data = tasks.DATA / f"{wanted.name}{wanted.data.suffix}"
    places = [SUITES / f"{wanted.name}.yaml", tasks.FORMS / f"{wanted.name}.yaml", data]
    problems = list(_refused(root, wanted, form, places))
    items: list[Item] = []
    try:
        items = datafile.read(wanted.data, wanted.name, wanted.kind)
    except BadRequest as refused:
        problems += refused.problems
    else:
        problems += _choiceless(wanted.data, items, form, root)
    counts = {split: min(found, MOST[split]) for split, found in datafile.spread(items).items()}
    if items:
        least = {split: max(1, number) for split, number in counts.items()}
        plan = TaskPlan(wanted.name, least, wanted.name, wanted.data, wanted.kind)
        problems += [f"{wanted.data}: {why}" for why in tasks.shortfall(plan, items, policy)]
    if problems:
        raise BadRequest(problems)
    written = _suite(wanted, counts, data), _form(root, form, wanted.name)
    if wanted.data.resolve() != (root / data).resolve():
        write_text(root / data, wanted.data.read_text(encoding="utf-8"))
    for place, text in zip(places, written, strict=False):
        write_text(root / place, text)
    hidden = datafile.clusters(items, "hidden")
    return Begun(places, counts, hidden, tasks.hidden_clusters(wanted.kind, policy), wanted.name)


def kind_of(kind: str | None, parent: str | None, orders: Sequence[Sequence[str]]) -> str:
    """The kind asked for; without one, the niche of that parent by its place in the first order that has it,
    or a shared skill.
    """
    if kind is not None or parent is None:
        return kind or "shared"
    place = next((order.index(parent) for order in orders if parent in order), 0)
    return f"niche:{'ab'[min(place, 1)]}"


def orders(root: Path, parents: Parents) -> list[Sequence[str]]:
    """In which order parents are merged: those of the request, then those of each file in conf/parents.

    Raises BadRequest for a file that is no YAML.
    """
    found: list[Sequence[str]] = [parents.merge]
    for path in sorted((root / "conf/parents").glob("*.yaml")):
        tree = document.tree(path.read_bytes(), f"conf/parents/{path.name}: ")
        merge = tree.get("merge") if isinstance(tree, dict) else None
        found += [[str(name) for name in merge]] if isinstance(merge, list) else []
    return found


def matrix(root: Path, suite: Suite) -> list[dict[str, Json]]:
    """One row per task: name, kind, parent, form with its lm-eval output type, items per split, description.

    Raises BadRequest as `tasks.plan` does, or if a form is missing.
    """
    rows: list[dict[str, Json]] = []
    for name, one in tasks.plan(suite, root).items():
        task = suite.tasks[name]
        rows.append(
            {
                "task": name,
                "kind": one.kind,
                "parent": task.parent,
                "form": one.form,
                "output_type": _tree(root, one.form).get("output_type"),
                "source": task.data or f"{one.skill} {skill_named(one.skill).version}",
                "sha256": sha256_file(one.data) if one.data else None,
                "items": dict(one.items),
                "description": tasks.describe(task),
            }
        )
    return rows


def table(suite: Suite, rows: Sequence[Mapping[str, Json]]) -> Table:
    """The matrix for a terminal."""
    splits = ", ".join(tasks.SPLITS)
    found = Table(
        "task", "kind", "form", "items", "asks",
        title=f"{suite.name} {suite.version}: {len(rows)} tasks", caption=f"items: {splits}",
    )  # fmt: skip
    for row in rows:
        whose = f"{row['kind']} ({row['parent']})" if row["parent"] else row["kind"]
        numbers = " · ".join(str(row["items"][split]) for split in tasks.SPLITS)
        found.add_row(row["task"], whose, row["form"], numbers, row["description"])
    return found


def composed(root: Path, name: str | None) -> Suite:
    """The suite conf/suite/<name>.yaml with what it builds on; that of params.yaml without a name.

    Raises BadRequest.
    """
    from stages.compose import compose
    from stages.conf import load_request

    if name is None:
        return load_request(root / "params.yaml").suite
    tree = yaml.safe_load(compose(root, [f"suite={name}"]).text)["suite"]
    return Suite.model_validate(tree)


def _refused(root: Path, wanted: Wanted, form: str, places: Sequence[Path]) -> Iterator[str]:
    if not re.fullmatch(NAME, wanted.name):
        yield f"NAME: expected small letters, digits, - and _, got {wanted.name!r}"
    if wanted.kind not in KINDS:
        yield f"--kind: unknown kind {wanted.kind!r} (one of: {', '.join(KINDS)})"
    if wanted.data.suffix not in (".jsonl", ".txt"):
        yield f"--data: expected a .jsonl file, or a .txt file for perplexity, got {wanted.data.name!r}"
    if (wanted.data.suffix == ".txt") is not (wanted.kind == "perplexity" and form == "rolling"):
        yield "--data: a .txt file is for --kind perplexity with the form rolling, and only it is"
    if wanted.kind.startswith("niche:") is (wanted.niche is None):
        yield "--parent: a niche belongs to a parent, and nothing else does"
    if not (root / tasks.FORMS / f"{form}.yaml").is_file():
        yield f"--form: no file {tasks.FORMS}/{form}.yaml"
    if wanted.beside and not (root / SUITES / f"{wanted.beside}.yaml").is_file():
        yield f"--on: no file {SUITES}/{wanted.beside}.yaml"
    for place in places:
        if (root / place).exists() and wanted.data.resolve() != (root / place).resolve():
            yield f"{place} exists already: choose another name"


def _choiceless(path: Path, items: Sequence[Item], form: str, root: Path) -> Iterator[str]:
    if (root / tasks.FORMS / f"{form}.yaml").is_file() and _tree(root, form).get(
        "output_type"
    ) == "multiple_choice":
        bare = sum(not item.choices for item in items)
        if bare:
            yield f"{path}: {bare} lines have no choices, which the form {form!r} chooses from"


def _suite(wanted: Wanted, counts: Mapping[str, int], data: Path) -> str:
    task: dict[str, Json] = {"data": str(data), "form": wanted.name, "kind": wanted.kind}
    task |= {"parent": wanted.niche} if wanted.niche else {}
    task |= {"description": f"the questions of {data.name}", "items": dict(counts)}
    head = f"# {wanted.name}: what this suite is for, in a line.\n"
    if wanted.beside:
        head += f"defaults: [{wanted.beside}, _self_]\n"
    tree = {"name": wanted.name.replace("_", "-"), "version": 1}
    tree |= {} if wanted.beside else {"items": dict(counts)}
    return head + yaml.safe_dump(tree | {"tasks": {wanted.name: task}}, sort_keys=False, width=110)


def _form(root: Path, form: str, name: str) -> str:
    text = (root / tasks.FORMS / f"{form}.yaml").read_text(encoding="utf-8")
    lines = [f"task: {name}" if line.startswith("task:") else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def _tree(root: Path, form: str) -> Mapping[str, Json]:
    try:
        tree = yaml.safe_load((root / tasks.FORMS / f"{form}.yaml").read_text(encoding="utf-8"))
    except OSError as problem:
        raise BadRequest([f"{tasks.FORMS}/{form}.yaml: {problem.strerror}"]) from problem
    return tree if isinstance(tree, dict) else {}
