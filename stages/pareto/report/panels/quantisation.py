"""Quantisation: what rounding the weights to 8 or 4 bits leaves of each niche."""

from stages.core.records.quantised import Quantised as Entry
from stages.core.scoring.metrics.quantised import Quantised, quantised
from stages.pareto.measure import Number
from stages.pareto.report.charts.strip import Strip, strip
from stages.pareto.report.estimates import detectable
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import Cell, Line, Table, in_points, level_of
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import percent, points, share


def compared(view: View, entry: Entry, name: str, width: str, task: Task) -> Quantised | None:
    """One task of one subject after rounding against before; None where it was not answered."""
    rounded = entry.answers.get(width, {}).get(task.name)
    full = view.answers(name, task.name).correct
    if rounded is None or len(rounded.correct) != len(full):
        return None
    return quantised(
        full,
        rounded.correct,
        view.clusters(task),
        kl=rounded.kl,
        flips=rounded.flips,
        confidence=view.confidence,
    )


def _lines(view: View, row: Row, entry: Entry, width: str, tasks: list[Task]) -> list[Line]:
    lines = []
    for task in tasks:
        found = compared(view, entry, row.id, width, task)
        if found is None:
            continue
        interval = found.paired.interval
        kept = found.retention
        clusters = view.clusters(task)
        samples = clusters.means(entry.answers[width][task.name].correct)
        samples = samples - clusters.means(view.answers(row.id, task.name).correct)
        least = detectable(samples, clusters.number, view.confidence)
        lines.append(
            Line(
                f"{row.label} · {task.name}",
                [
                    Cell(share(found.full), "", found.full),
                    Cell(share(found.rounded), "", found.rounded),
                    Cell("—") if kept is None else Cell(percent(kept), "", kept, level_of(kept)),
                    in_points(Number(found.paired.difference, interval.low, interval.high)),
                    Cell(points(-least), "", -least),
                    Cell(f"{found.kl:.2g}", "", found.kl),
                    Cell(percent(found.flips), "", found.flips),
                ],
                row,
            )
        )
    return lines


def _strip(view: View, width: str, task: Task) -> Chart | None:
    lines = []
    for row in view.focus:
        entry = view.study.quantised.get(row.id)
        found = compared(view, entry, row.id, width, task) if entry else None
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
            [line for row in rows for line in _lines(view, row, known[row.id], width, tasks)],
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
