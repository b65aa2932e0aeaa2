"""Quantisation: what rounding the weights to 8 or 4 bits leaves of each niche."""

from dataclasses import dataclass

from stages.core.records.quantised import Rounded
from stages.core.scoring.paired import Paired, paired_difference
from stages.pareto.measure import Number
from stages.pareto.report.charts.strip import Strip, strip
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_points, level_of
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


def _strip(view: View, width: str, task: Task) -> Chart | None:
    lines = []
    for row in view.focus:
        found = compared(view, row.id, width, task)
        if found:
            interval = found.paired.interval
            lines.append((row, Number(found.paired.difference, interval.low, interval.high)))
    if not lines:
        return None
    words = (
        f"{task.name} after {width}: accuracy gained or lost by rounding; the table below has the numbers."
    )
    return Chart(strip(Strip(f"{width} less full precision", lines, 0.0)), words, f"{task.name}, {width}")


def build(view: View) -> Shown | Absent:
    """A table and a chart per niche and width; outlier ratios, which say how hard rounding is."""
    known = view.study.quantised if view.found.plotted else {}
    rows = [row for row in view.focus if row.id in known]
    if not rows:
        return Absent("there is no data/evidence/quantised.json with a shown subject")
    widths = [width for width in ("int8", "int4") if any(width in known[row.id].answers for row in rows)]
    tasks = view.niche_tasks()
    head = (
        "Subject and task", "Before", "After", "Retention", "Difference, points", "Detectable",
        "KL, nats a token", "Flips",
    )  # fmt: skip
    tables = [
        Table(
            f"quantised-{width}",
            f"{width}: accuracy before and after rounding. KL: of the right answers; flips: changed ones.",
            head,
            [line for row in rows for task in tasks if (line := _line(view, row, width, task))],
        )
        for width in widths
    ]
    drawn = {
        f"quantised-{width}-{task.name}": chart
        for width in widths
        for task in tasks
        if (chart := _strip(view, width, task))
    }
    outliers = Table(
        "outliers",
        "Outlier ratio of the weights’ channels: largest entry over root mean square. High ones round badly.",
        ("Subject", "Median", "Largest"),
        [
            Line(
                row.label,
                [
                    Cell(f"{known[row.id].outlier_median:.2f}", "", known[row.id].outlier_median),
                    Cell(f"{known[row.id].outlier_max:.2f}", "", known[row.id].outlier_max),
                ],
                row,
            )
            for row in rows
        ],
    )
    return Shown({"tables": tables, "names": list(drawn), "outliers": outliers}, drawn)


PANEL = Panel("quantisation", "Quantisation", "Quantisation", "Cost", build)
