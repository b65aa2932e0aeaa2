"""front.svg: the Pareto front as a picture that stands alone, in light and in dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stages.pareto.measure import Number
from stages.pareto.report.marks import Mark, mark_of, marks_of, symbol
from stages.pareto.report.pages import render
from stages.pareto.results import NONE, Results, Row
from stages.pareto.wording import percent, share

WIDTH, HEIGHT = 880, 600  # user units
LEFT, RIGHT, TOP, BOTTOM = 76, 28, 70, 108
RADIUS = 6.5
CHARACTER = 6.7  # mean advance of the 13-unit system font, for keeping labels apart
BLANK = 4  # least room between labels
FRONT_COST = 0.4  # of covering the front's line, per unit of covering a mark
FREE = 60.0  # a label that may be left out is drawn under this cost


@dataclass(frozen=True)
class Box:
    """A rectangle that a label may not cover."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """Shared area, 0 if they are apart."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)


@dataclass(frozen=True)
class Point:
    """One drawn subject; x, y and the interval's ends in user units. outside: put on the frame's edge."""

    row: Row
    mark: Mark
    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float
    best: bool
    outside: bool

    @property
    def path(self) -> str:
        """Its symbol."""
        return symbol(self.mark.shape, self.x, self.y, RADIUS)

    @property
    def strong(self) -> bool:
        """Whether its intervals are drawn at full strength: who is on the line, and the baselines."""
        return self.row.on_front or self.row.outcome is None or self.row.status == "candidate"


@dataclass(frozen=True)
class Label:
    """Text beside a point; anchor as in SVG. leader: ends of the line to its point, if apart."""

    text: str
    x: float
    y: float
    anchor: str
    strong: bool
    leader: tuple[tuple[float, float], tuple[float, float]] | None


@dataclass(frozen=True)
class Axis:
    """One range of accuracies, drawn from `start` to `end` in user units; others are put on its edge."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]

    def at(self, value: float) -> float:
        """The place of a value."""
        inside = min(self.high, max(self.low, value))
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Frame:
    """Both axes, each with its own range: what was lost on one niche takes no room from the other."""

    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        """Horizontal place."""
        return self.across.at(value)

    def y(self, value: float) -> float:
        """Vertical place."""
        return self.up.at(value)

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies inside both ranges."""
        return x >= self.across.low and y >= self.up.low


def picture(found: Results) -> str:
    """The SVG text; the same for the same results. Without anything evaluated, a card with the answer."""
    rows = found.plotted
    frame = frame_of(rows)
    best = found.answer.subject
    points = [_point(row, frame, row.id == best) for row in rows]
    return render(
        "front.svg.j2",
        found=found,
        frame=frame,
        points=sorted(points, key=lambda point: (point.best, point.strong)),
        labels=place_labels(points, _segments(found.line, frame)),
        line=_line(found.line, frame),
        legend=_legend(marks_of(rows)),
        description=describe(found),
        box=Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
        width=WIDTH,
        height=HEIGHT,
    )


def frame_of(rows: Sequence[Row]) -> Frame:
    """Ranges that hold the baselines and all that was not rejected; a collapsed merge may lie outside."""
    shown = [row for row in rows if row.status != "rejected"]
    across = _axis([(row.x or NONE).value for row in shown], LEFT, WIDTH - RIGHT)
    return Frame(across, _axis([(row.y or NONE).value for row in shown], HEIGHT - BOTTOM, TOP))


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    """From a multiple of 0.1 below the lowest value, up to 1 and a little room."""
    low = max(0.0, math.floor((min(values, default=0.0) - 0.03) * 10) / 10)
    step = 0.1 if low >= 0.35 else 0.2
    ticks = [round(1 - step * place, 1) for place in range(11) if 1 - step * place >= low - 1e-9]
    return Axis(low, 1.02, start, end, ticks[::-1])


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


def _point(row: Row, frame: Frame, best: bool) -> Point:
    x, y = row.x or NONE, row.y or NONE
    ends = (frame.x(x.low), frame.x(x.high), frame.y(y.high), frame.y(y.low))
    outside = not frame.holds(x.value, y.value)
    place = frame.x(x.value), frame.y(y.value)
    if outside:
        place = max(place[0], LEFT + 10), min(place[1], HEIGHT - BOTTOM - 10)
    return Point(row, mark_of(row), *place, *ends, best, outside)


def _segments(rows: Sequence[Row], frame: Frame) -> list[Box]:
    """The front's line as thin boxes, for keeping labels off it."""
    places = [(frame.x((row.x or NONE).value), frame.y((row.y or NONE).value)) for row in rows]
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(places):
        boxes += [Box(x0 - 1.5, y0, x0 + 1.5, y1), Box(x0, y1 - 1.5, x1, y1 + 1.5)]
    return boxes


def _line(rows: Sequence[Row], frame: Frame) -> str:
    """Down, then right, from each point of the front to the next; from the left edge, to the floor."""
    if not rows:
        return ""
    places = [(frame.x((row.x or NONE).value), frame.y((row.y or NONE).value)) for row in rows]
    path = f"M{LEFT} {places[0][1]:.1f}H{places[0][0]:.1f}"
    for x, y in places[1:]:
        path += f"V{y:.1f}H{x:.1f}"
    return path + f"V{HEIGHT - BOTTOM}"


def place_labels(points: Sequence[Point], line: Sequence[Box]) -> list[Label]:
    """Labels beside their points, the important first; one that finds no free place is left out.

    The recommended subject, the candidates and the baselines are always named, at the place that covers
    least; a label that had to move away is tied to its point by a line. line: the front's segments.
    """
    marks = [_around_mark(point) for point in points]
    labels: list[Label] = []
    taken: list[Box] = []
    for point in sorted(points, key=_importance):
        wanted = point.best or point.row.outcome is None or point.row.status == "candidate"
        options = [*_beside(point), *(_around(point) if wanted or point.row.status == "rejected" else [])]
        others = [box for box in marks if box != _around_mark(point)]
        costs = [
            _cost(option, marks, taken)
            + _crossing(option, [*others, *taken])
            + FRONT_COST * _covered(option, line)
            for option in options
        ]
        cheapest = min(range(len(options)), key=lambda place: (costs[place], place))
        if costs[cheapest] < FREE or wanted:
            labels.append(options[cheapest])
            taken += [_box(options[cheapest]), *_beads(options[cheapest])]
    return labels


def _around_mark(point: Point) -> Box:
    return Box(point.x - 8, point.y - 8, point.x + 8, point.y + 8)


def _cost(label: Label, marks: Sequence[Box], taken: Sequence[Box]) -> float:
    """Area of marks and labels that a label would cover, and what it costs to leave the frame."""
    box = _box(label)
    return 3 * sum(box.overlap(other) for other in (*marks, *taken)) + _outside(box)


def _crossing(label: Label, obstacles: Sequence[Box]) -> float:
    """What a label's line costs: its length, and every obstacle on its way."""
    beads = _beads(label)
    hits = sum(bead.overlap(other) > 0 for bead in beads for other in obstacles)
    return len(beads) + 40.0 * hits


def _covered(label: Label, line: Sequence[Box]) -> float:
    box = _box(label)
    return sum(box.overlap(segment) for segment in line)


def _beads(label: Label) -> list[Box]:
    """Small boxes along a label's line, at most 5 units apart."""
    if label.leader is None:
        return []
    (x0, y0), (x1, y1) = label.leader
    count = int(math.hypot(x1 - x0, y1 - y0) // 5) + 1
    places = [(x0 + (x1 - x0) * n / count, y0 + (y1 - y0) * n / count) for n in range(count + 1)]
    return [Box(x - 1.5, y - 1.5, x + 1.5, y + 1.5) for x, y in places]


def _importance(point: Point) -> tuple[int, str]:
    if point.best:
        return 0, point.row.id
    if point.row.outcome is None:
        return 1, point.row.id
    order = ("candidate", "the ensemble wins", "distil instead", "rejected", "archived")
    return 2 + order.index(point.row.outcome.name), point.row.id


def _beside(point: Point) -> list[Label]:
    """Places that touch the point and need no line."""
    text = point.row.label + (" (off the scale)" if point.outside else "")
    spots = [
        (13.0, 4.5, "start"), (-13.0, 4.5, "end"), (11.0, -10.0, "start"), (-11.0, -10.0, "end"),
        (11.0, 19.0, "start"), (-11.0, 19.0, "end"), (0.0, -15.0, "middle"), (0.0, 25.0, "middle"),
    ]  # fmt: skip
    return [Label(text, point.x + x, point.y + y, anchor, point.best, None) for x, y, anchor in spots]


def _around(point: Point) -> list[Label]:
    """Places on growing rings around the point, each with a line to it."""
    text = point.row.label + (" (off the scale)" if point.outside else "")
    labels = []
    for radius in (40, 60, 80, 105, 130, 160):
        for degrees in (200, 160, 225, 135, 250, 110, 270, 90, 20, -20, 45, -45):
            x = point.x + radius * math.cos(math.radians(degrees))
            y = point.y - radius * math.sin(math.radians(degrees))
            anchor = "end" if 100 < degrees < 260 else "start"
            tip = x + (3 if anchor == "end" else -3)
            share = (RADIUS + 5) / math.hypot(tip - point.x, y - point.y)
            start = point.x + share * (tip - point.x), point.y + share * (y - point.y)
            labels.append(Label(text, x, y + 4, anchor, point.best, (start, (tip, y))))
    return labels


def _box(label: Label) -> Box:
    wide = len(label.text) * CHARACTER * (1.08 if label.strong else 1)
    left = label.x - {"start": 0.0, "middle": wide / 2, "end": wide}[label.anchor]
    return Box(left - BLANK, label.y - 11 - BLANK / 2, left + wide + BLANK, label.y + 3 + BLANK / 2)


def _outside(box: Box) -> float:
    """Area-like cost of leaving the frame."""
    over = max(0.0, LEFT - box.left) + max(0.0, box.right - (WIDTH - RIGHT))
    under = max(0.0, TOP - box.top) + max(0.0, box.bottom - (HEIGHT - BOTTOM))
    return 40 * (over + under)


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


def headline_words(number: Number | None) -> str:
    """'83 %', or a dash."""
    return percent(number.value) if number else "—"
