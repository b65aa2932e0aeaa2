"""Retention, skill by skill: a heat map of all subjects, and each shown subject against its reference."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.pareto.constraints import Check, worst_state
from stages.pareto.report.panel import Absent, Panel, Shown, View
from stages.pareto.report.tables import level_of
from stages.pareto.results import Row
from stages.pareto.study import Task


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
        (row, [(task, _field(view, row, task, named[task.name])) for task in view.study.tasks])
        for row in view.found.plotted
    ]


def _field(view: View, row: Row, task: Task, reference: str) -> Field:
    theirs = view.answers(reference, task.name).accuracy
    mine = row.tasks[task.name].value
    retention = mine / theirs if theirs else None
    state = worst_state(row.checks, task.name) or ""
    return Field(retention, mine, level_of(1.0 + mine if retention is None else retention), state)


def compared(view: View) -> list[tuple[Row, Sequence[Check]]]:
    """The shown subjects that are judged, with their checks: the recommended first, then by mean score."""
    judged = [row for row in view.focus if row.checks]
    judged.sort(key=lambda row: (row.id != view.best_id, row.outcome is None, row.rank or 0))
    return [(row, row.checks) for row in judged]


def build(view: View) -> Shown | Absent:
    """The map of everyone; the checks of those who are shown."""
    if not view.found.plotted:
        return Absent("nothing was evaluated")
    return Shown(
        {
            "tasks": view.study.tasks,
            "references": {task.name: view.reference(task) for task in view.study.tasks},
            "contaminated": view.study.contaminated,
            "heat": heat_map(view),
            "compared": compared(view),
            "best": view.best_id,
        }
    )


PANEL = Panel("retention", "Retention, skill by skill", "Retention", "What was kept", build)
