"""front.svg: the Pareto front as a picture that stands alone, in light and in dark."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.pareto.report.layout import (
    BOTTOM,
    CHARACTER,
    HEIGHT,
    LEFT,
    RADIUS,
    RIGHT,
    TOP,
    WIDTH,
    Box,
    Frame,
    Layout,
)
from stages.pareto.report.marks import Mark, marks_of, symbol
from stages.pareto.report.pages import render
from stages.pareto.results import NONE, Results, Row
from stages.pareto.wording import share


def picture(found: Results, placed: Layout) -> str:
    """The SVG text; the same for the same results. Without anything evaluated, a card with the answer."""
    return render(
        "front.svg.j2",
        found=found,
        frame=placed.frame,
        points=sorted(placed.points, key=lambda point: (point.best, point.strong)),
        labels=placed.labels,
        line=_line(found.line, placed.frame),
        legend=_legend(marks_of(found.plotted)),
        description=describe(found),
        box=Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
        width=WIDTH,
        height=HEIGHT,
    )


def describe(found: Results) -> str:
    """The picture in words, for those who cannot see it."""
    line = "; ".join(
        f"{row.label} ({share((row.x or NONE).value)}, {share((row.y or NONE).value)})" for row in found.line
    )
    if not found.plotted:
        return f"{found.answer.sentence} Nothing was evaluated."
    return (
        f"{len(found.plotted)} subjects by {found.axes[0]} (right) and {found.axes[1]} (up). "
        f"On the front, from left to right: {line}. {found.answer.sentence}"
    )


def _line(rows: Sequence[Row], frame: Frame) -> str:
    """Down, then right, from each point of the front to the next; from the left edge, to the floor."""
    if not rows:
        return ""
    places = [(frame.x((row.x or NONE).value), frame.y((row.y or NONE).value)) for row in rows]
    path = f"M{LEFT} {places[0][1]:.1f}H{places[0][0]:.1f}"
    for x, y in places[1:]:
        path += f"V{y:.1f}H{x:.1f}"
    return path + f"V{HEIGHT - BOTTOM}"


@dataclass(frozen=True)
class Entry:
    """One legend entry at a place below the frame."""

    mark: Mark
    x: float
    y: float

    @property
    def path(self) -> str:
        """Its symbol."""
        return symbol(self.mark.shape, self.x, self.y, RADIUS - 1)


def _legend(marks: Sequence[Mark]) -> list[Entry]:
    """Entries from left to right, wrapped at the frame's width."""
    entries = []
    x, y = float(LEFT), HEIGHT - 38.0
    for mark in marks:
        wide = 40 + len(mark.words) * CHARACTER
        if x + wide > WIDTH - RIGHT:
            x, y = float(LEFT), y + 22
        entries.append(Entry(mark, x + 6, y))
        x += wide
    return entries
