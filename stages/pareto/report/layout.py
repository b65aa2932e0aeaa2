"""Where things stand in the picture: the frame's ranges, the points, and labels kept apart from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stages.pareto.outcomes import NAMES
from stages.pareto.report.marks import Mark, mark_of, symbol
from stages.pareto.results import NONE, Results, Row

WIDTH, HEIGHT = 880, 600  # user units
LEFT, RIGHT, TOP, BOTTOM = 76, 28, 70, 108
RADIUS = 6.5
CHARACTER = 6.7  # mean advance of the 13-unit system font, for keeping labels apart
BLANK = 4  # least room between labels
FRONT_COST = 0.4  # of covering the front's line, per unit of covering a mark
NAMED_RANKS = 3  # merges of the highest mean scores are named, above all where they were rejected
CROWD = 40  # with more points than these only the necessary names are written
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

    def value(self, place: float) -> float:
        """The accuracy at a place: the inverse of `at`."""
        return self.low + (place - self.start) / (self.end - self.start) * (self.high - self.low)


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
    def must(self) -> bool:
        """Whether its name is always written."""
        named = self.best or self.row.outcome is None or self.row.status == "candidate"
        return named or (self.row.rank or NAMED_RANKS + 1) <= NAMED_RANKS

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


@dataclass(frozen=True)
class Layout:
    """One arrangement, shared by the picture and the chart, so that both look alike."""

    frame: Frame
    points: Sequence[Point]
    labels: Sequence[Label]


def layout(found: Results) -> Layout:
    """Place every evaluated subject and its name."""
    frame = frame_of(found.plotted)
    points = points_of(found, frame)
    return Layout(frame, points, place_labels(points, segments(found.line, frame)))


def points_of(found: Results, frame: Frame) -> list[Point]:
    """Every evaluated subject at its place, in the order of the rows."""
    return [_point(row, frame, row.id == found.answer.subject) for row in found.plotted]


def _point(row: Row, frame: Frame, best: bool) -> Point:
    x, y = row.x or NONE, row.y or NONE
    ends = (frame.x(x.low), frame.x(x.high), frame.y(y.high), frame.y(y.low))
    outside = not frame.holds(x.value, y.value)
    place = frame.x(x.value), frame.y(y.value)
    if outside:
        place = max(place[0], LEFT + 10), min(place[1], HEIGHT - BOTTOM - 10)
    return Point(row, mark_of(row), *place, *ends, best, outside)


def segments(rows: Sequence[Row], frame: Frame) -> list[Box]:
    """The front's line as thin boxes, for keeping labels off it."""
    places = [(frame.x((row.x or NONE).value), frame.y((row.y or NONE).value)) for row in rows]
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(places):
        boxes += [Box(x0 - 1.5, y0, x0 + 1.5, y1), Box(x0, y1 - 1.5, x1, y1 + 1.5)]
    return boxes


def place_labels(points: Sequence[Point], line: Sequence[Box]) -> list[Label]:
    """Labels beside their points; one that may be left out and finds no free place is left out.

    The recommended subject, candidates, baselines and the highest ranks are always named, at the place that
    covers least; a label that had to move away is tied to its point by a line. Several orders of placing are
    tried and the tidiest is kept. line: the front's segments.
    """
    if len(points) > CROWD:
        points = [point for point in points if point.must]
    orders = [
        sorted(points, key=_importance),
        sorted(points, key=lambda point: (not point.must, -point.x, point.row.id)),
        sorted(points, key=lambda point: (not point.must, point.y, point.row.id)),
        sorted(points, key=lambda point: (not point.must, -point.x - point.y, point.row.id)),
        sorted(points, key=lambda point: (not point.must, point.x - point.y, point.row.id)),
    ]
    arranged = [_arrange(order, line) for order in orders]
    return min(arranged, key=lambda found: found[0])[1]


def _arrange(points: Sequence[Point], line: Sequence[Box]) -> tuple[float, list[Label]]:
    """Place labels one after another, each at its cheapest place; the sum of what the necessary ones cost."""
    marks = [_around_mark(point) for point in points]
    labels: list[Label] = []
    taken: list[Box] = []
    total = 0.0
    for point in points:
        others = [box for box in marks if box != _around_mark(point)]
        far = point.must or point.row.status == "rejected"
        best, cheapest = None, math.inf
        for option in [*_beside(point), *(_around(point) if far else [])]:
            cost = _cost(option, marks, taken) + FRONT_COST * _covered(option, line)
            if cost < cheapest:
                cost += _crossing(option, [*others, *taken])
            if cost < cheapest:
                best, cheapest = option, cost
            if cheapest == 0:
                break
        if best is not None and (cheapest < FREE or point.must):
            labels.append(best)
            taken += [_box(best), *_beads(best)]
        total += cheapest if point.must else 0.0
    return total, labels


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


def _importance(point: Point) -> tuple[int, int, str]:
    if point.best:
        return 0, 0, point.row.id
    if point.row.outcome is None:
        return 1, 0, point.row.id
    return 2 + NAMES.index(point.row.outcome.name), point.row.rank or 0, point.row.id


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
