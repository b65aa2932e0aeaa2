"""From the suite of a request to what is drawn for each task, and what a quick look at a model asks."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stages.conf import Items, Suite, Task
from stages.core.errors import BadRequest
from stages.core.records.policy import Policy
from stages.core.records.schema import nearest
from stages.core.scoring import datafile
from stages.core.scoring.cases import PUBLIC_SEED, TaskPlan
from stages.core.scoring.skills import KINDS, SKILLS, draw, skill_named
from stages.core.scoring.skills.items import ANSWERLESS, Item

FORMS = Path("conf/suite/lm_eval")
DATA = Path("conf/suite/data")
SPLITS = ("calibration", "search", "selection", "hidden")  # in the order of results in an evidence file


def plan(suite: Suite, root: Path = Path()) -> dict[str, TaskPlan]:
    """Task → what to draw for it, in the suite's order. root: the repository, where data files lie.

    Raises BadRequest naming every task whose skill or kind is unknown, or whose kind is not that of its
    skill. Files are read by whoever draws from them.
    """
    problems = [f"suite.tasks.{name}.{why}" for name, task in suite.tasks.items() for why in _wrong(task)]
    if problems:
        raise BadRequest(problems)
    return {name: _plan(name, task, suite.items, root) for name, task in suite.tasks.items()}


def smoke(suite: Suite, items: int, root: Path = Path()) -> dict[str, list[tuple[str, str]]]:
    """Skill → (prompt, answer) of `items` smoke items; what every model of the family should do well.

    A skill that asks about another's content in its own way is passed over for that one, and a kind whose
    answers nobody should give has none. Of a file it is the start of its search split. Raises as `plan` and
    `draw_cases` do.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name, task in plan(suite, root).items():
        if task.kind in ANSWERLESS:
            continue
        if task.data is None:
            skill = skill_named(task.skill).source or task.skill
            drawn = draw(skill, "smoke", items, PUBLIC_SEED)
        else:
            skill, known = name, datafile.read(task.data, name, task.kind)
            few = min(items, datafile.spread(known)["search"])
            drawn = datafile.draw(known, name, "search", few, PUBLIC_SEED)
        found[skill] = [(item.prompt, item.answer) for item in drawn]
    return found


def problems(root: Path, suite: Suite, policy: Policy) -> Iterator[str]:
    """What is wrong with the tasks of a suite: names, forms, every line of the files, and too few lines."""
    try:
        plans = plan(suite, root)
    except BadRequest as refused:
        yield from refused.problems
        return
    for name, one in plans.items():
        if not (root / FORMS / f"{one.form}.yaml").is_file():
            forms = sorted(path.stem for path in (root / FORMS).glob("*.yaml"))
            yield f"suite.tasks.{name}.form: no file {FORMS}/{one.form}.yaml{nearest(one.form, forms)}"
        if one.data is not None:
            yield from _file_problems(root / DATA, name, one, one.data, policy)
    if not any(task.kind not in ANSWERLESS for task in plans.values()):
        yield "suite.tasks: no task has answers of its own: a gate would have nothing to take a loss of"


def shortfall(task: TaskPlan, items: Sequence[Item], policy: Policy) -> Iterator[str]:
    """Where a file has too few lines: for the items asked, or for the margin that the policy sets."""
    spread = datafile.spread(items)
    for split, wanted in task.items.items():
        if spread[split] < wanted:
            yield datafile.too_few(split, spread[split], wanted)
    found, wanted = datafile.clusters(items, "hidden"), hidden_clusters(task.kind, policy)
    if (few := min(found, task.items["hidden"])) < wanted:
        enough = f"the file has {found}: ask for more in items.hidden"
        move = enough if found >= wanted else datafile.too_few("hidden", found, wanted)
        yield (
            f"hidden: {few} questions that rise and fall by themselves, and the policy needs {wanted}: {move}"
        )


def hidden_clusters(kind: str, policy: Policy) -> int:
    """Fewest hidden questions by which a loss can be told from chance, or kept be shown, under the policy."""
    from stages.core.scoring.paired import clusters_to_show  # scipy takes a second to import

    rule = policy.constraints.of(kind)
    least = policy.front.min_clusters
    return max(least, clusters_to_show(rule.margin, policy.confidence)) if rule and rule.margin else least


def describe(task: Task) -> str:
    """What the task asks, in words."""
    if task.skill is not None:
        return skill_named(task.skill).description
    return task.description or f"the questions of {task.data}"


def counts(items: Items) -> Mapping[str, int]:
    """Split → number of items."""
    return {split: getattr(items, split) for split in SPLITS}


def _plan(name: str, task: Task, usual: Items, root: Path) -> TaskPlan:
    items = counts(task.items or usual)
    if task.data is not None:
        return TaskPlan(name, items, task.form or "", root / task.data, task.kind)
    skill = skill_named(task.skill or "")
    return TaskPlan(skill.name, items, task.form or skill.form, None, skill.kind)


def _wrong(task: Task) -> Iterator[str]:
    kinds = {skill.name: skill.kind for skill in SKILLS}
    if task.skill is None:
        if task.kind not in KINDS:
            yield f"kind: unknown kind {task.kind!r}{nearest(task.kind, KINDS)}"
    elif task.skill not in kinds:
        yield f"skill: unknown skill {task.skill!r} (one of: {', '.join(kinds)})"
    elif task.kind != kinds[task.skill]:
        yield f"kind: skill {task.skill!r} is of kind {kinds[task.skill]!r}, got {task.kind!r}"


def _file_problems(folder: Path, name: str, task: TaskPlan, file: Path, policy: Policy) -> Iterator[str]:
    if not file.resolve().is_relative_to(folder.resolve()):
        yield f"suite.tasks.{name}.data: leads out of {DATA}"
        return
    try:
        items = datafile.read(file, name, task.kind)
    except BadRequest as refused:
        yield from refused.problems
        return
    for why in shortfall(task, items, policy):
        yield f"suite.tasks.{name}: {why}"
