"""Long context: accuracy over length × depth, and how likely a text is by position."""

from collections.abc import Sequence

from stages.core.scoring.metrics.position import Bucket, by_position
from stages.core.scoring.metrics.strata import Part, by_stratum
from stages.pareto.report.charts.lines import Curve, curves
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, level_of
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import share

NAMES = ("length", "depth")


def grid(parts: Sequence[Part], name: str, caption: str) -> Table:
    """Length down, depth across; each field is an accuracy with its exact interval and number of items."""
    found = {part.values: part for part in parts}
    lengths = list(dict.fromkeys(part.values[0] for part in parts))
    depths = sorted({part.values[1] for part in parts}, key=_number)
    lines = [
        Line(f"length {length}", [_field(found.get((length, depth))) for depth in depths])
        for length in lengths
    ]
    return Table(name, caption, ("Length", *(f"depth {depth}" for depth in depths)), lines)


def _number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def _field(part: Part | None) -> Cell:
    if part is None:
        return Cell(NOTHING)
    note = f"{share(part.interval.low)}–{share(part.interval.high)}, n {part.items}"
    return Cell(share(part.accuracy), note, part.accuracy, min(4, level_of(part.accuracy)))


def _grids(view: View, task: Task) -> list[tuple[Row, Table]]:
    strata = view.strata(task)
    grids = []
    for row in view.few:
        parts = by_stratum(strata, view.answers(row.id, task.name).correct, NAMES, view.confidence)
        if parts:
            caption = f"{row.label}, {task.name}: accuracy"
            grids.append((row, grid(parts, f"{task.name}-{row.id}", caption)))
    return grids


def positions(view: View, task: Task) -> dict[str, list[Bucket]]:
    """Subject → nats a token by position, of the subjects that measured them."""
    found = {row.id: by_position(view.answers(row.id, task.name).measures) for row in view.focus}
    return {name: buckets for name, buckets in found.items() if buckets}


def _position_table(view: View, task: Task, found: dict[str, list[Bucket]]) -> Table:
    starts = sorted({bucket.start for buckets in found.values() for bucket in buckets})
    lines = []
    for name, buckets in found.items():
        known = {bucket.start: bucket for bucket in buckets}
        cells = [
            Cell(f"{known[start].perplexity:.2f}", f"{known[start].nats:.3f} nats", known[start].nats)
            if start in known
            else Cell(NOTHING)
            for start in starts
        ]
        row = view.found.row(name)
        lines.append(Line(row.label, cells, row))
    head = ("Subject", *(f"from {start}" for start in starts))
    return Table(f"position-{task.name}", f"{task.name}: perplexity by position, tokens", head, lines)


def _position_charts(view: View, task: Task, found: dict[str, list[Bucket]]) -> dict[str, Chart]:
    drawn = {}
    shown = [row for row in view.few if row.id in found]
    for place, row in enumerate(shown):
        lines = [
            Curve(
                other.label,
                [(float(bucket.start), bucket.nats) for bucket in found[other.id]],
                other.id == row.id,
            )
            for other in shown
        ]
        drawn[f"position-{task.name}-{place}"] = Chart(
            curves(lines, titles=("position, tokens", "nats a token"), percent=False, marks=True),
            f"{row.label}: nats a token by position, the others in grey; the table has the numbers.",
            row.label,
        )
    return drawn


def build(view: View) -> Shown | Absent:
    """Grids per task of long context, curves per text task that measures positions."""
    grids = [(task, found) for task in view.tasks("long_context") if (found := _grids(view, task))]
    tasks = view.study.tasks if view.found.plotted else ()
    texts = [(task, buckets) for task in tasks if (buckets := positions(view, task))]
    if not grids and not texts:
        return Absent(
            "no item of the suite says its length and depth, and no text its likelihood by position"
        )
    drawn = [_position_charts(view, task, buckets) for task, buckets in texts]
    tables = [
        (task, _position_table(view, task, buckets), list(charts))
        for (task, buckets), charts in zip(texts, drawn, strict=True)
    ]
    return Shown(
        {"grids": grids, "texts": tables},
        {name: chart for found in drawn for name, chart in found.items()},
    )


PANEL = Panel("long-context", "Long context", "Long context", "Behaviour", build)
