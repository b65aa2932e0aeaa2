"""Rare skills by part, and the very items that a subject lost against its reference."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.scoring.metrics.strata import by_stratum
from stages.pareto.constraints import Check
from stages.pareto.measure import Number
from stages.pareto.readings import ACCURACY
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
    """A skill of a subject with the first of its lost items; total: of all; had: right at the reference."""

    row: Row
    check: Check
    items: Sequence[Item]
    total: int
    had: int
    detectable: float


def losses(view: View) -> list[Loss]:
    """Of the shown merges: rare skills in which an item was lost, and skills lost beyond their margin."""
    tasks = {task.name: task for task in view.study.tasks}
    found = []
    for row in view.focus:
        if row.outcome is None:
            continue
        checks = [
            one
            for one in row.checks
            if one.quantity == ACCURACY and (one.kind == KIND or one.state == "lost")
        ]
        checks.sort(key=lambda one: (one.kind != KIND, one.paired.difference, one.task))
        for check in checks[:SKILLS]:
            loss = _loss(view, row, check, tasks[check.task])
            found += [loss] if loss.total else []
    return found


def _loss(view: View, row: Row, check: Check, task: Task) -> Loss:
    mine = view.answers(row.id, task.name)
    theirs = view.answers(check.reference, task.name).correct
    places = check.lost
    items = [
        Item(
            _shortened(str(task.items[place]["prompt"])),
            str(task.items[place]["answer"]).strip(),
            mine.said[place].strip() if mine.said is not None else None,
        )
        for place in places[:ITEMS]
    ]
    return Loss(row, check, items, len(places), sum(theirs), check.detectable)


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
        lines.append(Line(row.label, [*cells, _detects(row, task)], row))
    head = ("Subject", "All", *names, "Detectable in all, points")
    return Table(f"parts-{task.name}", f"{task.name}: accuracy by part, exact bounds", head, lines)


def _detects(row: Row, task: Task) -> Cell:
    check = next((one for one in row.checks if one.task == task.name), None)
    if check is None:
        return Cell(NOTHING)
    least = -check.detectable
    return Cell(points(least), "", least)


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
