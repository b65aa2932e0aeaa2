"""Which asks run together: a pure function of token ids, so that it is planned once for all models.

Rows of about one length share a batch, longest first, as many as a budget of tokens allows. A beginning that
many contexts share (instructions, examples) is a trunk: it runs once, and what it leaves in the cache of keys
and values serves every row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from stages.core.scoring.engine.asks import Ask

T = TypeVar("T")
Tokens: TypeAlias = tuple[int, ...]

TOKENS: Final = 2048  # of a forward pass, padding included
CACHED: Final = 16384  # places of a batch's cache: 0.8 GB for SmolLM2-135M in float32
TRUNK: Final = 24  # tokens that contexts must share for a trunk
SHARERS: Final = 4  # contexts that must share it


@dataclass(frozen=True)
class Whole:
    """Rows (ask, continuation) that run in one pass each, context and continuation together."""

    trunk: Tokens
    rows: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Branching:
    """Asks whose context runs once, for several continuations or for what the model says."""

    trunk: Tokens
    asks: tuple[int, ...]


Batch: TypeAlias = Whole | Branching


def plan(asks: Sequence[Ask], *, cached: bool, aligned: bool) -> list[Batch]:
    """Batches that cover every ask once. cached: the model can go on from a cache, else every row is whole
    and what the model says is left out. aligned: contexts of a branching batch must be of one length.
    """
    batches: list[Batch] = []
    for trunk, places in trunks([ask.context for ask in asks]) if cached else [((), range(len(asks)))]:
        rows = [
            (place, number)
            for place in places
            for number in range(len(asks[place].continuations))
            if not cached or not _branches(asks[place])
        ]
        lengths = [
            len(asks[place].context) + len(asks[place].continuations[number]) for place, number in rows
        ]
        for part in buckets(rows, lengths, len(trunk)):
            batches.append(Whole(trunk, tuple(part)))
        branching = [place for place in places if cached and _branches(asks[place])]
        lengths = [len(asks[place].context) for place in branching]
        for places_together in buckets(branching, lengths, len(trunk), aligned=aligned):
            batches.append(Branching(trunk, tuple(places_together)))
    return batches


def trunks(contexts: Sequence[Tokens]) -> list[tuple[Tokens, list[int]]]:
    """(shared beginning, places of the contexts that have it), every place once; those without one share ().

    A trunk leaves at least one token of each of its contexts.
    """
    groups: dict[Tokens, list[int]] = {}
    for place, context in enumerate(contexts):
        groups.setdefault(context[:TRUNK] if len(context) > TRUNK else (), []).append(place)
    alone: list[int] = []
    found: list[tuple[Tokens, list[int]]] = []
    for start, places in groups.items():
        if not start or len(places) < SHARERS:
            alone += places
            continue
        first, last = (choose(contexts[place] for place in places) for choose in (min, max))
        most = min(len(contexts[place]) for place in places) - 1
        shared = next((n for n in range(most) if first[n] != last[n]), most)
        found.append((first[:shared], places))
    return [((), sorted(alone)), *found] if alone else found


def _branches(ask: Ask) -> bool:
    return len(ask.continuations) != 1 or ask.stop is not None


def buckets(
    rows: Sequence[T], lengths: Sequence[int], cached: int, *, aligned: bool = False
) -> Iterator[list[T]]:
    """`rows` in order of falling length, cut where the budget ends or (aligned) where the length changes.

    cached: how many tokens of each length a cache holds already.
    """
    part: list[T] = []
    width = 0
    for place in sorted(range(len(rows)), key=lambda place: (-lengths[place], place)):
        length = lengths[place]
        size = len(part) + 1
        full = size * (width - cached) > TOKENS or size * width > CACHED
        if part and (full or (aligned and length != width)):
            yield part
            part = []
        if not part:
            width = length
        part.append(rows[place])
    if part:
        yield part
