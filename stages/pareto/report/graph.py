"""The lineage of a merge as a graph: what it was made from, by what, as which bytes, judged how.

One graph for the Mermaid text of report.md and for the drawing of the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.pareto.report.lineage import Descent
from stages.pareto.report.pages import parameters, short
from stages.pareto.results import Results
from stages.pareto.wording import NARROW

Kind = Literal["origin", "recipe", "artifact", "verdict"]
COLUMN, WIDE, GAP = 232.0, 196.0, 18.0  # user units: from column to column, of a box, between boxes
LINE, PAD = 19.0, 13.0  # of a line of text, above and below the text
LETTERS = 27  # that fit a line of a box in the 12.5-unit font
COLUMNS: Sequence[Kind] = ("origin", "recipe", "artifact", "verdict")


@dataclass(frozen=True)
class Node:
    """name: unique. title, detail: for people; notes: further lines, drawn and not in Mermaid."""

    name: str
    kind: Kind
    title: str
    detail: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """edges: pairs of names, from source to product."""

    nodes: Sequence[Node]
    edges: Sequence[tuple[str, str]]


def graph_of(found: Results, line: Descent) -> Graph:
    """Base and parents → recipe → artifact → gate and outcome."""
    row, candidate = found.row(line.candidate.id), line.candidate
    origins = [
        Node(
            f"o{place}",
            "origin",
            f"{origin.role} {origin.id}",
            short(origin.digest),
            (origin.licence,),
        )
        for place, origin in enumerate(line.origins)
    ]
    detail = parameters(dict(candidate.parameters)) or "no parameters"
    settings = (f"seed {line.seed}, {line.dtype}", f"numerics {line.numerics}, isolation {line.isolation}")
    size = f"{candidate.bytes / 1e6:.1f} MB, {len(line.files)} file{'' if len(line.files) == 1 else 's'}"
    reason = row.reason.partition(";")[0].replace(NARROW, " ")
    rest = [
        Node("recipe", "recipe", f"{line.method} v{line.version}", detail, settings),
        Node("artifact", "artifact", candidate.id, short(candidate.artifact), (size,)),
        Node("gate", "verdict", "gate", "passed"),
        Node("outcome", "verdict", row.status, reason),
    ]
    edges = [(origin.name, "recipe") for origin in origins]
    edges += [("recipe", "artifact"), ("artifact", "gate"), ("gate", "outcome")]
    return Graph([*origins, *rest], edges)


@dataclass(frozen=True)
class Placed:
    """A node as a box with lines of text; x, y: its upper left corner, user units."""

    node: Node
    x: float
    y: float
    height: float
    lines: Sequence[str]

    @property
    def middle(self) -> float:
        """Height at which its edges begin and end."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Drawing:
    """The graph laid out from left to right. paths: SVG path data of the edges."""

    boxes: Sequence[Placed]
    paths: Sequence[str]
    width: float
    height: float


def drawing(graph: Graph) -> Drawing:
    """One column per kind, each centred; edges are smooth, or straight down within a column."""
    columns = [[node for node in graph.nodes if node.kind == kind] for kind in COLUMNS]
    heights = [sum(_height(node) + GAP for node in column) - GAP for column in columns]
    whole = max(heights) + 2 * PAD
    boxes = {}
    for place, (column, high) in enumerate(zip(columns, heights, strict=True)):
        y = (whole - high) / 2
        for node in column:
            boxes[node.name] = Placed(node, 2 + place * COLUMN, y, _height(node), _lines(node))
            y += _height(node) + GAP
    paths = [_path(boxes[start], boxes[end]) for start, end in graph.edges]
    return Drawing(list(boxes.values()), paths, (len(COLUMNS) - 1) * COLUMN + WIDE + 4, whole)


def _path(start: Placed, end: Placed) -> str:
    if start.x == end.x:
        return f"M{start.x + WIDE / 2:.1f} {start.y + start.height:.1f}V{end.y - 5:.1f}"
    x0, x1 = start.x + WIDE, end.x - 5
    half, high, low = (x0 + x1) / 2, start.middle, end.middle
    return f"M{x0:.1f} {high:.1f}C{half:.1f} {high:.1f} {half:.1f} {low:.1f} {x1:.1f} {low:.1f}"


def _lines(node: Node) -> list[str]:
    return [line for text in (node.title, node.detail, *node.notes) for line in wrapped(text)]


def _height(node: Node) -> float:
    return len(_lines(node)) * LINE + 2 * PAD - 4


def wrapped(text: str, letters: int = LETTERS, most: int = 4) -> list[str]:
    """Lines of at most `letters` characters, broken at spaces where there are; '…' ends what is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= letters:
            lines[-1] += f" {word}"
        else:
            lines += [word[place : place + letters] for place in range(0, len(word), letters)]
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1][: letters - 2]} …"]
    return lines or [""]
