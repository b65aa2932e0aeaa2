"""Rare skills by part, and the very items that a subject lost against its reference."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.scoring.metrics.strata import by_stratum
from stages.pareto.constraints import Check
from stages.pareto.measure import Number
from stages.pareto.readings import given_answers
from stages.pareto.report.panel import Absent, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_share
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import points

KIND, STRATUM = "rare", "part"
ITEMS = 5  # lost items shown of one skill
SKILLS = 3  # skills shown of one subject, the heaviest losses first
LETTERS = 240  # of a prompt that are shown
NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Item:
    """One lost item: expected is the right answer; said is None where the form does not record it."""

    prompt: str
    expected: str
    said: str | None


@dataclass(frozen=True)
class Loss:
    """A skill or behaviour of a subject with the first of the items that it lost."""

    row: Row
    check: Check
    items: Sequence[Item]


def losses(view: View) -> list[Loss]:
    """Rare skills of the shown merges that lost an item, and every skill that a merge was rejected for.

    The best-scoring merges first; of each the rare skills, then the heaviest losses.
    """
    tasks = {task.name: task for task in view.study.tasks}
    shown = {row.id for row in view.focus}
    merges = [row for row in view.found.plotted if row.outcome is not None]
    merges.sort(key=lambda row: (row.id != view.best_id, row.rank or 0))
    found = []
    for row in merges:
        checks = [
            one
            for one in row.checks
            if one.lost and (one.state == "lost" or (one.kind == KIND and row.id in shown))
        ]
        checks.sort(key=lambda one: (one.kind != KIND, one.paired.difference, one.task, one.quantity))
        found += [_loss(view, row, check, tasks[check.task]) for check in checks[:SKILLS]]
    return found


def _loss(view: View, row: Row, check: Check, task: Task) -> Loss:
    given = given_answers(task, view.answers(row.id, task.name))
    items = [
        Item(
            _shortened(str(task.items[place]["prompt"])),
            str(task.items[place]["answer"]).strip(),
            None if given is None else given[place],
        )
        for place in check.lost[:ITEMS]
    ]
    return Loss(row, check, items)


def _shortened(text: str) -> str:
    """The end of a long prompt: what is asked stands there."""
    return text if len(text) <= LETTERS else "… " + text[-LETTERS:]


def parts(view: View, task: Task) -> Table | None:
    """Accuracy of every shown subject by part, with exact bounds; None where items name no part."""
    known = {
        row.id: by_stratum(
            view.strata(task), view.answers(row.id, task.name).correct, (STRATUM,), view.confidence
        )
        for row in view.focus
    }
    names = list(dict.fromkeys(part.values[0] for found in known.values() for part in found))
    if not names:
        return None
    lines = []
    for row in view.focus:
        found = {part.values[0]: part for part in known[row.id]}
        cells = [in_share(row.tasks[task.name])]
        for name in names:
            part = found.get(name)
            cell = (
                in_share(Number(part.accuracy, part.interval.low, part.interval.high))
                if part
                else Cell(NOTHING)
            )
            cells.append(Cell(cell.text, f"{cell.note}, n {part.items}" if part else "", cell.value))
        lines.append(Line(row.label, [*cells, _detects(view, row, task)], row))
    head = ("Subject", "All", *names, "Detectable in all, points")
    return Table(f"parts-{task.name}", f"{task.name}: accuracy by part, exact bounds", head, lines)


def _detects(view: View, row: Row, task: Task) -> Cell:
    check = view.check(row, task)
    return Cell(points(-check.detectable), "", -check.detectable) if check else Cell(NOTHING)


def build(view: View) -> Shown | Absent:
    """Tables by part where items name one; lost items of the shown merges."""
    if not view.found.plotted:
        return Absent("nothing was evaluated")
    tables = [table for task in view.tasks(KIND) if (table := parts(view, task))]
    found = losses(view)
    if not tables and not found:
        return Absent("no rare skill has parts, and no shown merge lost an item of a rare or rejected skill")
    return Shown({"tables": tables, "losses": found, "not_recorded": NOT_RECORDED})


PANEL = Panel("lost", "Rare skills and lost items", "Lost items", "What was kept", build)
