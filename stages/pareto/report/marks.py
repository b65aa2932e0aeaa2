"""How each kind of subject is drawn: one vocabulary for the picture, the charts and the legends.

Colours are names of CSS variables (page.css, front.svg.j2), so that light and dark are decided where shown.
Shape repeats what colour says: nobody has to tell two hues apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.pareto.results import Row


@dataclass(frozen=True)
class Mark:
    """shape: a Vega symbol name. hollow: only the outline is drawn, since the subject is off the front."""

    status: str
    words: str
    shape: str
    colour: str
    hollow: bool = False


MARKS: Sequence[Mark] = (
    Mark("base", "base", "square", "ink"),
    Mark("parent", "parent", "diamond", "ink"),
    Mark("ensemble", "output ensemble", "triangle-up", "ink"),
    Mark("router", "router", "triangle-down", "ink"),
    Mark("cascade", "cascade", "triangle-right", "ink"),
    Mark("bound", "bound (never served)", "cross", "ink"),
    Mark("candidate", "candidate", "circle", "candidate"),
    Mark("archived", "archived", "circle", "archived"),
    Mark("rejected", "rejected (off the front)", "circle", "rejected", hollow=True),
    Mark("the ensemble wins", "the ensemble wins", "circle", "ensemble"),
    Mark("distil instead", "distil instead", "circle", "distil"),
)


CORNERS: Mapping[str, Sequence[tuple[float, float]]] = {  # from the centre, in units of the radius
    "triangle-down": ((-1.2, -0.96), (1.2, -0.96), (0, 1.2)),
    "triangle-right": ((-0.96, -1.2), (1.2, 0), (-0.96, 1.2)),
    "cross": (
        (-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4),
        (0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4),
    ),
}  # fmt: skip


def mark_of(row: Row) -> Mark:
    """The mark of a row, by its outcome or its kind."""
    return next(mark for mark in MARKS if mark.status == row.status)


def marks_of(rows: Sequence[Row]) -> list[Mark]:
    """The marks that occur among `rows`, in the order of MARKS."""
    present = {row.status for row in rows}
    return [mark for mark in MARKS if mark.status in present]


def symbol(shape: str, x: float, y: float, radius: float) -> str:
    """SVG path of one mark centred at (x, y); `radius` in user units, areas about equal."""
    if shape == "square":
        half = radius * 0.86
        return f"M{x - half:.1f} {y - half:.1f}h{2 * half:.1f}v{2 * half:.1f}h{-2 * half:.1f}z"
    if shape == "diamond":
        half = radius * 1.2
        return (
            f"M{x:.1f} {y - half:.1f}L{x + half:.1f} {y:.1f}L{x:.1f} {y + half:.1f}L{x - half:.1f} {y:.1f}z"
        )
    if shape == "triangle-up":
        half = radius * 1.2
        return f"M{x:.1f} {y - half:.1f}L{x + half:.1f} {y + 0.8 * half:.1f}H{x - half:.1f}z"
    if shape in CORNERS:
        corners = [f"{x + radius * right:.1f} {y + radius * down:.1f}" for right, down in CORNERS[shape]]
        return f"M{'L'.join(corners)}z"
    arc = f"a{radius:.1f} {radius:.1f} 0 1 0"
    return f"M{x - radius:.1f} {y:.1f}{arc} {2 * radius:.1f} 0{arc} {-2 * radius:.1f} 0z"
