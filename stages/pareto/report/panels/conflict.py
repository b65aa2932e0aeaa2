"""Conflicting prompts: one form, another right answer by context, and who is taken for whom."""

from collections.abc import Sequence

from stages.core.scoring.intervals import clopper_pearson
from stages.core.scoring.metrics.confusion import CONTEXT, Confusion, confusion, toward_other
from stages.core.scoring.metrics.strata import value_of
from stages.core.scoring.metrics.twins import twins_of
from stages.pareto.measure import Number
from stages.pareto.readings import given_answers
from stages.pareto.report.panel import Absent, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_percent, in_share
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import points

KIND = "conflict"


def confused(view: View, row: Row, task: Task) -> list[bool] | None:
    """Per item, whether the answer is the twin's; None where answers are not recorded."""
    given = given_answers(task, view.answers(row.id, task.name))
    if given is None:
        return None
    rights = [str(item["answer"]).strip() for item in task.items]
    others: list[str] = list(rights)
    for first, second in twins_of(view.pairs(task)):
        others[first], others[second] = rights[second], rights[first]
    return toward_other(given, rights, others)


def contexts_of(view: View, row: Row, task: Task) -> list[Confusion]:
    """One entry per context of the task that its items name."""
    names = [value_of(strata, CONTEXT) for strata in view.strata(task)]
    if None in names:
        return []
    wrong = confused(view, row, task)
    correct = view.answers(row.id, task.name).correct
    return confusion([str(name) for name in names], correct, wrong or [False] * len(correct), view.confidence)


def _table(view: View, task: Task) -> Table:
    names = sorted({value for strata in view.strata(task) if (value := value_of(strata, CONTEXT))})
    recorded = any(given_answers(task, view.answers(row.id, task.name)) is not None for row in view.focus)
    lines = [_line(view, row, task, names, recorded) for row in view.focus]
    head = ["Subject", "Accuracy", "Both twins right", "One twin only", "Neither"]
    for name in names:
        head += [f"Right in context {name}", f"Answered as in the other ({name})"]
    caption = f"{task.name}: {len(task.items)} hidden items. One twin only: right in one context alone."
    if not recorded:
        caption += " What was answered is not recorded by this form, so confusion cannot be told from error."
    return Table(f"conflict-{task.name}", caption, head, lines)


def _line(view: View, row: Row, task: Task, names: Sequence[str], recorded: bool) -> Line:
    correct = view.answers(row.id, task.name).correct
    pairs = twins_of(view.pairs(task))
    counts = [sum(correct[place] for place in pair) for pair in pairs]
    cells = [_with_detectable(view, row, task)]
    for wanted in (2, 1, 0):
        number = counts.count(wanted)
        interval = clopper_pearson(number, len(counts), view.confidence) if counts else None
        cells.append(
            in_percent(Number(number / len(counts), interval.low, interval.high))
            if interval
            else Cell(NOTHING)
        )
    found = {one.context: one for one in contexts_of(view, row, task)}
    for name in names:
        one = found.get(name)
        cells.append(Cell(NOTHING) if one is None else in_share(_right(one, view)))
        known = one is not None and recorded
        cells.append(
            in_percent(Number(one.rate, one.interval.low, one.interval.high))
            if one and known
            else Cell(NOTHING)
        )
    return Line(row.label, cells, row)


def _right(one: Confusion, view: View) -> Number:
    interval = clopper_pearson(one.own, one.items, view.confidence)
    return Number(one.own / one.items, interval.low, interval.high)


def _with_detectable(view: View, row: Row, task: Task) -> Cell:
    """Accuracy with the smallest loss against the reference that would have been shown."""
    cell = in_share(row.tasks[task.name])
    check = view.check(row, task)
    if check is None:
        return cell
    return Cell(cell.text, f"{cell.note} · detects {points(-check.detectable)}", cell.value)


def build(view: View) -> Shown | Absent:
    """One table per task of the kind."""
    tasks = view.tasks(KIND) if view.found.plotted else []
    if not tasks:
        return Absent("no task of the suite is of kind conflict")
    return Shown({"tables": [_table(view, task) for task in tasks]})


PANEL = Panel("conflict", "Conflicting prompts", "Conflict", "What was kept", build)
