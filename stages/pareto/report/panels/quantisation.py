"""Quantisation: what rounding the weights to 8 or 4 bits leaves of each niche."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.records.quantised import WIDTHS, Rounded
from stages.core.scoring.paired import Paired, paired_difference
from stages.pareto.measure import Number
from stages.pareto.report.charts.strip import Strip, strip
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_points, level_of, plain
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import percent, points, share


@dataclass(frozen=True)
class Rounding:
    """One task of one subject. before, after: accuracies; paired: after less before, item by item."""

    before: float
    after: Rounded
    paired: Paired


def compared(view: View, name: str, width: str, task: Task) -> Rounding | None:
    """None where the rounded subject did not answer the task."""
    entry, full = view.study.quantised.get(name), view.answers(name, task.name)
    after = entry.answers.get(width, {}).get(task.name) if entry else None
    if after is None or len(after.correct) != len(full.correct):
        return None
    paired = paired_difference(after.correct, full.correct, view.clusters(task), view.confidence)
    return Rounding(full.accuracy, after, paired)


def _line(view: View, row: Row, width: str, task: Task) -> Line | None:
    found = compared(view, row.id, width, task)
    if found is None:
        return None
    interval, after = found.paired.interval, found.after.accuracy
    kept = after / found.before if found.before else None
    least = -found.paired.detectable(view.policy.level)
    cells = [
        Cell(share(found.before), "", found.before),
        Cell(share(after), "", after),
        Cell(NOTHING) if kept is None else Cell(percent(kept), "", kept, level_of(kept)),
        in_points(Number(found.paired.difference, interval.low, interval.high)),
        Cell(points(least), "", least),
        Cell(f"{found.after.kl:.2g}", "", found.after.kl),
        Cell(percent(found.after.flips), "", found.after.flips),
    ]
    return Line(f"{row.label} · {task.name}", cells, row)


def _strips(view: View, width: str, tasks: Sequence[Task]) -> dict[str, Chart]:
    """A chart per task, all on one scale."""
    lines: dict[str, list[tuple[Row, Number]]] = {task.name: [] for task in tasks}
    for task in tasks:
        for row in view.focus:
            found = compared(view, row.id, width, task)
            if found:
                interval = found.paired.interval
                lines[task.name].append((row, Number(found.paired.difference, interval.low, interval.high)))
    numbers = [number for found in lines.values() for _, number in found]
    span = tuple(end for number in numbers for end in (number.low, number.high))
    words = f"after {width}: accuracy gained or lost by rounding; the table below has the numbers."
    return {
        f"quantised-{width}-{name}": Chart(
            strip(Strip(f"{width} less full precision", found, 0.0, span)),
            f"{name} {words}",
            f"{name}, {width}",
        )
        for name, found in lines.items()
        if found
    }


def _table(view: View, rows: Sequence[Row], width: str, tasks: Sequence[Task]) -> Table:
    head = (
        "Subject and task", "Before", "After", "Retention", "Difference, points", "Detectable",
        "KL, nats a token", "Flips",
    )  # fmt: skip
    caption = f"{width}: accuracy before and after rounding. KL: of the right answers; flips: changed ones."
    lines = [line for row in rows for task in tasks if (line := _line(view, row, width, task))]
    return Table(f"quantised-{width}", caption, head, lines)


def _outliers(view: View, rows: Sequence[Row]) -> Table:
    known = [(row, view.study.quantised[row.id]) for row in rows]
    lines = [
        Line(row.label, [plain(entry.outlier_median), plain(entry.outlier_max)], row) for row, entry in known
    ]
    caption = "Outlier ratio of the weights’ channels: largest entry over root mean square."
    return Table("outliers", caption, ("Subject", "Median", "Largest"), lines)


def build(view: View) -> Shown | Absent:
    """A table and charts per width; outlier ratios, which say how hard rounding is."""
    known = view.study.quantised if view.found.plotted else {}
    rows, tasks = [row for row in view.focus if row.id in known], view.niche_tasks()
    if not rows:
        return Absent("there is no data/evidence/quantised.json with a shown subject")
    widths = [width for width in WIDTHS if any(width in known[row.id].answers for row in rows)]
    strips = [_strips(view, width, tasks) for width in widths]
    drawn = {name: chart for found in strips for name, chart in found.items()}
    values = {
        "names": [list(found) for found in strips],
        "tables": [_table(view, rows, width, tasks) for width in widths],
        "outliers": _outliers(view, rows),
    }
    return Shown(values, drawn)


PANEL = Panel("quantisation", "Quantisation", "Quantisation", "Cost", build)
