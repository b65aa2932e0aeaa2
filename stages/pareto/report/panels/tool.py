"""Tool behaviour: whether calls are valid, right, and made only where one is wanted."""

from collections.abc import Sequence

from stages.pareto.report.estimates import detectable, estimate, samples
from stages.pareto.report.panel import Absent, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_share, level_of
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import points, share

KIND = "tool"
GOOD = {
    "valid_json": "Valid JSON",
    "schema_valid": "Schema-valid",
    "right_tool": "Right tool",
    "right_arguments": "Right arguments",
}
BAD = {"spurious": "Spurious calls"}


def _table(view: View, task: Task) -> Table | None:
    names = [name for name in (*GOOD, *BAD) if any(_values(view, row.id, task, name) for row in view.focus)]
    if not names:
        return None
    reference = view.reference(task)
    lines = [
        Line(
            row.label,
            [in_share(row.tasks[task.name]), *(_cell(view, row, task, name, reference) for name in names)],
            row,
        )
        for row in view.focus
    ]
    caption = (
        f"{task.name}: shares of the hidden items where each applies, coloured by what {reference} reaches; "
        "“detects” is the smallest true change for the worse that would have been shown, in points."
    )
    head = ("Subject", "All right", *((GOOD | BAD)[name] for name in names))
    return Table(f"tool-{task.name}", caption, head, lines)


def _values(view: View, name: str, task: Task, measure: str) -> Sequence[float | None]:
    values = view.answers(name, task.name).measures.get(measure, ())
    return values if any(value is not None for value in values) else ()


def _cell(view: View, row: Row, task: Task, name: str, reference: str) -> Cell:
    mine, theirs = _values(view, row.id, task, name), _values(view, reference, task, name)
    number = estimate(mine, view.clusters(task), view.confidence) if mine else None
    known = estimate(theirs, view.clusters(task), view.confidence) if theirs else None
    if number is None or known is None:
        return Cell(NOTHING)
    better = (1 - number.value, 1 - known.value) if name in BAD else (number.value, known.value)
    level = min(4, level_of(better[0] / better[1])) if better[1] else 4
    note = f"{share(number.low)}–{share(number.high)}"
    if row.id != reference:
        clusters = view.clusters(task)
        found = samples(mine, clusters) - samples(theirs, clusters)
        least = detectable(found, clusters.number, view.confidence)
        note += f" · detects {points(least if name in BAD else -least)}"
    return Cell(share(number.value), note, number.value, level)


def build(view: View) -> Shown | Absent:
    """One table per task of the kind that measures its calls."""
    tables = [table for task in view.tasks(KIND) if (table := _table(view, task))]
    if not tables:
        return Absent("no tool task generates its calls, so only whether the whole call is right is known")
    return Shown({"tables": tables})


PANEL = Panel("tool", "Tool behaviour", "Tools", "Behaviour", build)
