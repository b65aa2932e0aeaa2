"""Retention, skill by skill: a heat map of all subjects, and each shown subject against its reference."""

from dataclasses import dataclass

from stages.pareto.constraints import Check, worst_state
from stages.pareto.report.panel import Absent, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, SIGNS, Cell, Line, Table, level_of
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import p_value, points, share

SIZED = ("brier", "nats", "gap")  # quantities that are no share: their differences are no points


@dataclass(frozen=True)
class Field:
    """One field of the heat map. level: 0 (under half kept) to 5 (better than the reference).

    retention: None where the reference got nothing right, so that there is no share of it.
    """

    retention: float | None
    accuracy: float
    level: int
    state: str


def heat_map(view: View) -> list[tuple[Row, list[tuple[Task, Field]]]]:
    """Per evaluated subject, one field per task of the suite."""
    named = {task.name: view.reference(task) for task in view.study.tasks}
    return [
        (row, [(task, _field(view, row, task, named[task.name])) for task in _tasks(view)])
        for row in view.found.plotted
    ]


def _tasks(view: View) -> list[Task]:
    """All but running text, which has no right or wrong."""
    return [task for task in view.study.tasks if task.kind != "perplexity"]


def _field(view: View, row: Row, task: Task, reference: str) -> Field:
    theirs = view.answers(reference, task.name).accuracy
    mine = row.tasks[task.name].value
    retention = mine / theirs if theirs else None
    state = worst_state(row.checks, task.name) or ""
    return Field(retention, mine, level_of(1.0 + mine if retention is None else retention), state)


def compared(view: View) -> list[tuple[Row, Table]]:
    """The shown subjects that are judged, with their checks: the recommended first, then by mean score."""
    judged = [row for row in view.focus if row.checks]
    judged.sort(key=lambda row: (row.id != view.best_id, row.outcome is None, row.rank or 0))
    return [(row, checks_table(view, row)) for row in judged]


def checks_table(view: View, row: Row) -> Table:
    """Every check of one subject, with its p in the family and what it would have shown."""
    tests = view.found.trial.losses_tested
    caption = (
        f"{row.label}, each skill against its reference, item by item; below zero is a loss. A value is an "
        "accuracy, or the mean loss that is named after the comma. p: of a loss by chance, adjusted for all "
        f"{tests} such tests of the study. Detectable: smallest true loss shown four times in five."
    )
    head = (
        "Skill", "Value", "Reference", "Difference", "Margin", "Lost / gained", "p", "Detectable", "Verdict",
    )  # fmt: skip
    return Table(f"checks-{row.id}", caption, head, [check_line(one) for one in row.checks])


def check_line(one: Check) -> Line:
    """Value, reference, difference, margin, counts, p, detectable loss and verdict of one check."""
    interval, losses = one.paired.interval, one.paired.losses
    sign, meaning = SIGNS.get(one.state, ("", ""))
    cells = [
        Cell(_value(one, one.value), "", one.value),
        Cell(_value(one, one.reference_value), one.reference, one.reference_value),
        Cell(
            _signed(one, one.paired.difference),
            f"{_signed(one, interval.low)} to {_signed(one, interval.high)}",
            one.paired.difference,
        ),
        Cell(NOTHING if one.margin is None else _signed(one, -one.margin)),
        Cell(f"{losses} / {one.paired.gains}" if one.paired.counted else NOTHING, "", losses),
        Cell(NOTHING) if one.adjusted_p is None else Cell(p_value(one.adjusted_p), "", one.adjusted_p),
        Cell(_signed(one, -one.detectable), "", -one.detectable),
        Cell(one.state, "", one.state, None, sign, meaning),
    ]
    return Line(one.skill, cells)


def _value(one: Check, value: float) -> str:
    return share(value) if one.paired.counted else f"{value:.3f}"


def _signed(one: Check, value: float) -> str:
    """Points of a share; the unit of the quantity itself where it has a size."""
    sized = one.quantity in SIZED
    return f"{round(value, 3) + 0.0:+.3f}".replace("-", "−") if sized else points(value)


def build(view: View) -> Shown | Absent:
    """The map of everyone; the checks of those who are shown."""
    if not view.found.plotted:
        return Absent("nothing was evaluated")
    return Shown(
        {
            "tasks": _tasks(view),
            "references": {task.name: view.reference(task) for task in view.study.tasks},
            "contaminated": view.study.contaminated,
            "heat": heat_map(view),
            "compared": compared(view),
            "best": view.best_id,
        }
    )


PANEL = Panel("retention", "Retention, skill by skill", "Retention", "What was kept", build)
