"""Layers of the parents stacked in a stated order: depth up-scaling, "frankenmerges"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.errors import BadRequest
from stages.core.weights.method import Method, Parameter
from stages.core.weights.methods.passthrough import SCALE, block, coefficients

MOST_LAYERS = 10_000  # of a path: the deepest models have a few hundred, and each costs its tensors' headers
SPAN = re.compile(
    r"(?P<parent>[1-9][0-9]{0,2}):(?:(?P<all>\*)|(?P<first>[0-9]{1,5})(?:-(?P<end>[0-9]{1,5}))?)"
)


@dataclass(frozen=True)
class Span:
    """Layers first … end-1 of a parent, which is counted from 1; end None: all of its layers."""

    parent: int
    first: int = 0
    end: int | None = None

    def __str__(self) -> str:
        if self.end is None:
            return f"{self.parent}:*"
        alone = self.end == self.first + 1
        return f"{self.parent}:{self.first}" if alone else f"{self.parent}:{self.first}-{self.end}"


def parse(text: str) -> tuple[Span, ...]:
    """The spans of a path such as "1:0-8 2:4-12 1:8", in the order of the output layers.

    Spans stand between white space. Each is PARENT:LAYERS; parents count from 1, layers from 0. LAYERS is
    `first-end` (first included, end not), one layer, or `*` for all that the parent has. A span that goes on
    where the one before it ended, in the same parent, is one with it.
    Raises BadRequest with every span that is none, and for a path without spans or with too many layers.
    """
    problems: list[str] = []
    spans: list[Span] = []
    for word in text.split():
        found = SPAN.fullmatch(word)
        if found is None:
            problems.append(f"{word!r} is no span: expected PARENT:LAYERS, such as 1:0-8, 2:5 or 1:*")
            continue
        parent, first = int(found["parent"]), int(found["first"] or 0)
        end = None if found["all"] else int(found["end"] or first + 1)
        if end is not None and end <= first:
            problems.append(f"{word!r} holds no layer: its end is not included, and must be greater")
        elif spans and end is not None and (spans[-1].parent, spans[-1].end) == (parent, first):
            spans[-1] = Span(parent, spans[-1].first, end)
        else:
            spans.append(Span(parent, first, end))
    if not spans and not problems:
        problems.append("the path names no layers: expected spans such as '1:0-8 2:4-12'")
    if sum(span.end - span.first for span in spans if span.end is not None) > MOST_LAYERS:
        problems.append(f"the path names more than {MOST_LAYERS} layers")
    if problems:
        raise BadRequest(problems)
    return tuple(spans)


def canonical(text: str, parents: int) -> str:
    """The path as a recipe keeps it: one spelling for one sequence of spans. Raises BadRequest."""
    spans = parse(text)
    if wrong := unknown(spans, parents):
        raise BadRequest(wrong)
    return " ".join(map(str, spans))


def unknown(spans: Sequence[Span], parents: int) -> list[str]:
    """A sentence for every span whose parent is not there."""
    return [f"'{span}' names parent {span.parent} of {parents}" for span in spans if span.parent > parents]


METHOD = Method(
    name="layer_path",
    version=1,
    source="arXiv 2312.15166",
    space="weight",
    parameters=(
        Parameter("path", "text", "1:*", "the output layers: spans of the parents' layers", read=canonical),
        SCALE,
        Parameter("outside", "parent", 1.0, "the parent that gives what is in no layer", low=1.0, high=64.0),
    ),
    coefficients=coefficients,
    block=block,
    route="layer_path",
    routing=("path", "outside"),
    parents=(1, 64),
)
