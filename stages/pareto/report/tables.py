"""Tables as values: what a panel says in numbers, before any markup."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.pareto.measure import Number
from stages.pareto.results import Row
from stages.pareto.wording import percent, percent_range, points, share

NOTHING = "—"
STEPS = (0.5, 0.75, 0.9, 0.97, 1.03)  # bounds of retention between the colours of a heat map
SIGNS = {"lost": ("✕", "lost beyond the margin"), "unproven": ("?", "not shown to be kept")}
LONG = 8  # rows from which a table can be sorted


@dataclass(frozen=True)
class Cell:
    """One field. note: small print under it. value: what it is sorted by, empty where it has none.

    level: colour of a heat map, 0 (under half kept) to 5 (better than the reference); None is no colour.
    sign: a mark that says what the colour does; meaning: the mark in words.
    """

    text: str
    note: str = ""
    value: float | str = ""
    level: int | None = None
    sign: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Line:
    """One row: its subject (None where a row is no subject), its heading, and one cell per further column."""

    heading: str
    cells: Sequence[Cell]
    row: Row | None = None


@dataclass(frozen=True)
class Table:
    """A table with a caption. head: the first heading is that of the rows'. name: unique on the page."""

    name: str
    caption: str
    head: Sequence[str]
    lines: Sequence[Line]

    @property
    def sortable(self) -> bool:
        """Whether it is long enough to be worth sorting."""
        return len(self.lines) >= LONG


def in_share(number: Number | None) -> Cell:
    """An accuracy with its interval: 0.93, 0.88–0.96."""
    if number is None:
        return Cell(NOTHING)
    return Cell(share(number.value), f"{share(number.low)}–{share(number.high)}", number.value)


def in_percent(number: Number | None) -> Cell:
    """A share with its interval: 83 %, 71 to 92 %."""
    if number is None:
        return Cell(NOTHING)
    return Cell(percent(number.value), percent_range(number.low, number.high), number.value)


def in_points(number: Number | None) -> Cell:
    """A difference in percentage points with its interval: −12, −20 to −4."""
    if number is None:
        return Cell(NOTHING)
    return Cell(points(number.value), f"{points(number.low)} to {points(number.high)}", number.value)


def plain(value: float | None, digits: int = 2) -> Cell:
    """A number with fixed decimals; never a minus zero."""
    if value is None:
        return Cell(NOTHING)
    return Cell(f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−"), "", value)


def level_of(retention: float) -> int:
    """Colour of a share that was kept: 0 (under half) to 5 (more than the reference)."""
    return sum(retention >= step for step in STEPS)
