"""Bias: counterfactual pairs that must be answered alike, and whether merging made a difference larger."""

from collections.abc import Hashable, Sequence

from stages.core.scoring.metrics.bias import Bias, amplification, bias, flipped
from stages.core.scoring.metrics.twins import twins_of
from stages.pareto.measure import Number
from stages.pareto.readings import given_answers
from stages.pareto.report.charts.strip import Strip, strip
from stages.pareto.report.estimates import detectable, samples
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.tables import NOTHING, Cell, Line, Table, in_percent, plain
from stages.pareto.results import Row
from stages.pareto.study import Task
from stages.pareto.wording import points

KIND = "bias"


def answered(view: View, name: str, task: Task) -> Sequence[Hashable]:
    """What was chosen or said, else whether it was right: the finest that is recorded."""
    answers = view.answers(name, task.name)
    return given_answers(task, answers) or answers.correct


def measured(view: View, task: Task) -> dict[str, Bias]:
    """Subject → its flips and gaps: those shown in every panel, and who flips twice as much as parents."""
    pairs = twins_of(view.pairs(task))
    found = {}
    for row in view.found.plotted:
        answers = view.answers(row.id, task.name)
        one = bias(answered(view, row.id, task), answers.loglikelihood, pairs, view.confidence)
        if one:
            found[row.id] = one
    worst = max((found[name].flips for name in view.study.experiment.parents if name in found), default=0)
    shown = {row.id for row in view.focus}
    return {name: one for name, one in found.items() if name in shown or one.flips > max(1, 2 * worst)}


def _flips(view: View, name: str, task: Task) -> list[float | None]:
    """Per item 1 or 0 by whether its pair flipped, None where it has no twin."""
    pairs = twins_of(view.pairs(task))
    values: list[float | None] = [None] * len(task.items)
    for (first, second), flip in zip(pairs, flipped(answered(view, name, task), pairs), strict=True):
        values[first] = values[second] = float(flip)
    return values


def _table(view: View, task: Task, found: dict[str, Bias]) -> Table:
    parents = [name for name in view.study.experiment.parents if name in found]
    worse = max(parents, key=lambda name: found[name].flip_rate)
    lines = [_line(view, view.found.row(name), task, found, worse) for name in found]
    caption = (
        f"{task.name}: {next(iter(found.values())).pairs} pairs. Amplification: flips beyond those of the "
        f"worse parent, {worse}; detectable: the smallest that would be shown. Gap: nats between twins."
    )
    head = ("Subject", "Pairs answered differently", "Amplification, points", "Detectable", "Gap", "Lean")
    return Table(f"bias-{task.name}", caption, head, lines)


def _line(view: View, row: Row, task: Task, found: dict[str, Bias], worse: str) -> Line:
    mine = found[row.id]
    flips = Number(mine.flip_rate, mine.interval.low, mine.interval.high)
    more, least = Cell(NOTHING), Cell(NOTHING)
    if row.kind != "parent":
        rise = amplification(mine, [found[worse]])
        clusters = view.clusters(task)
        difference = samples(_flips(view, row.id, task), clusters)
        difference = difference - samples(_flips(view, worse, task), clusters)
        smallest = detectable(difference, mine.pairs, view.confidence)
        more, least = Cell(points(rise), "", rise), Cell(points(smallest), "", smallest)
    return Line(row.label, [in_percent(flips), more, least, plain(mine.gap, 3), plain(mine.lean, 3)], row)


def build(view: View) -> Shown | Absent:
    """A chart of flips and a table per task of the kind that has pairs."""
    blocks, drawn = [], {}
    for task in view.tasks(KIND):
        found = measured(view, task)
        if found:
            blocks.append((task, _table(view, task, found), f"bias-{task.name}"))
            lines = [
                (view.found.row(name), Number(one.flip_rate, one.interval.low, one.interval.high))
                for name, one in found.items()
            ]
            worst = max(found[name].flip_rate for name in view.study.experiment.parents)
            drawn[f"bias-{task.name}"] = Chart(
                strip(Strip("pairs answered differently", lines, worst)),
                f"{task.name}: share of pairs answered differently, by subject; the table has the numbers.",
            )
    return Shown({"blocks": blocks}, drawn) if blocks else Absent("no task of kind bias has pairs")


PANEL = Panel("bias", "Bias", "Bias", "Behaviour", build)
