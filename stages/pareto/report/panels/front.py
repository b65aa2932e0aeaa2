"""The Pareto plot: every evaluated subject with its intervals, and the line of who nobody dominates."""

from stages.pareto.report.charts.front import front as draw
from stages.pareto.report.marks import marks_of, symbol
from stages.pareto.report.panel import Absent, Chart, Panel, Shown, View
from stages.pareto.report.picture import describe


def build(view: View) -> Shown | Absent:
    """The chart; until it is drawn, or without scripts, the picture front.svg stands in its place."""
    found = view.found
    if not found.plotted:
        return Absent("nothing was evaluated")
    words = describe(found)
    return Shown(
        {
            "items": sum(len(task.items) for task in view.study.tasks),
            "confidence": view.policy.confidence,
            "picture": view.picture,
            "words": words,
            "legend": [(mark, symbol(mark.shape, 9, 9, 6)) for mark in marks_of(found.plotted)],
        },
        {"front": Chart(draw(found, view.placed), words)},
    )


PANEL = Panel("front", "The front", "Front", "Verdict", build)
