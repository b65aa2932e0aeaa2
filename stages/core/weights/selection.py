"""Number 5 of the contract: the k greatest magnitudes of a tensor, exactly, without sorting it.

The bit patterns of |x| sort as the numbers do. A sample brackets the wanted pattern; one pass then counts
what lies above the bracket and collects what lies inside, about one element in a hundred. Should the bracket
miss, or hold too many (differences of bfloat16 weights take few values), passes that count patterns by their
upper and lower bits settle it in fixed memory. Either way the answer is the same.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

Ints: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Bound: TypeAlias = tuple[float, int]
LOW_BITS = 16
LOW_BINS = 1 << LOW_BITS
NONE_KEPT: Bound = (3.4028234663852886e38, 0)  # the greatest float32: no finite magnitude lies above it
HIGH_BINS = 1 << (31 - LOW_BITS)
STRIDE = 16  # one element in so many is sampled: 0.1 ns per element, for a bracket of one or two bins
SIGMAS = 5  # half width of the bracket in standard errors of the sampled rank
COLLECTED = 1 << 21  # most elements collected per parent before counting takes over: 24 MiB


class Counting(Protocol):
    """What selection asks about the magnitudes of one tensor; place: of a parent. Patterns are |x|'s bits."""

    def high(self, stride: int) -> list[Ints]:
        """Per parent, how many elements, of one in `stride` of each block, have which upper 15 bits."""
        ...

    def inside(self, brackets: Sequence[tuple[int, int]]) -> Iterator[Sequence[tuple[int, Ints, Ints]]]:
        """Per block and parent: how many lie above the bracket; places and patterns in it, in order."""
        ...

    def low(self, place: int, upper: int) -> Ints:
        """How many elements whose upper bits are `upper` have which lower 16 bits."""
        ...

    def equal(self, place: int, pattern: int) -> Iterator[Ints]:
        """Per block: the places of the elements with that very pattern, in order."""
        ...


@dataclass
class _Inside:
    """What one pass finds of one parent: elements above its bracket, and flat indices and patterns inside."""

    above: int
    places: list[Ints]
    patterns: list[Ints]


def kept_magnitudes(counting: Counting, keeps: Sequence[int]) -> list[Bound]:
    """Per tensor, the threshold and the cut that select exactly its `keeps[i]` greatest |x|.

    Selected are the elements with |x| above the threshold, and those equal to it at a flat index below the
    cut: the lowest index comes first among equals. keeps: 0 to the tensor's size.
    """
    if not any(keeps):
        return [NONE_KEPT] * len(keeps)
    sampled = counting.high(STRIDE)
    brackets = [_bracket(counts, keep / STRIDE) for counts, keep in zip(sampled, keeps, strict=True)]
    found = _collect(counting, brackets)
    bounds = [_within(*one) for one in zip(found, keeps, strict=True)] if found else [None] * len(keeps)
    high = counting.high(1) if None in bounds else []
    return [
        _counted(counting, keep, place, high[place]) if bound is None else bound
        for place, (bound, keep) in enumerate(zip(bounds, keeps, strict=True))
    ]


def _bracket(counts: Ints, rank: float) -> tuple[int, int]:
    """Patterns from … to below … that should hold the sampled element of that rank from the top.

    Nothing is bracketed for a rank of 0.
    """
    if rank == 0:
        return 0, 0
    margin = SIGMAS * math.sqrt(rank) + SIGMAS
    total = int(counts.sum())
    least, _ = _bin_of(counts, min(total, math.ceil(rank + margin)))
    most, _ = _bin_of(counts, max(1, math.floor(rank - margin)))
    top = HIGH_BINS if rank <= margin else most + 1
    bottom = 0 if rank + margin >= total else least
    return bottom << LOW_BITS, top << LOW_BITS


def _collect(counting: Counting, brackets: Sequence[tuple[int, int]]) -> list[_Inside] | None:
    """One pass over all parents; None as soon as a bracket holds more than COLLECTED elements."""
    gathered = [_Inside(0, [], []) for _ in brackets]
    held = [0] * len(brackets)
    for found in counting.inside(brackets):
        for place, (above, places, patterns) in enumerate(found):
            gathered[place].above += above
            gathered[place].places.append(places)
            gathered[place].patterns.append(patterns)
            held[place] += len(places)
        if max(held) > COLLECTED:
            return None
    return gathered


def _within(inside: _Inside, keep: int) -> Bound | None:
    """The bound, if the keep-th greatest element is among those collected; NONE_KEPT where none is kept."""
    if keep == 0:
        return NONE_KEPT
    places, patterns = np.concatenate(inside.places), np.concatenate(inside.patterns)
    rank = keep - inside.above
    if not 1 <= rank <= len(patterns):
        return None
    high = patterns >> LOW_BITS  # counted twice: np.partition took 30 times as long among many equal patterns
    first = int(high.min())
    upper, above = _bin_of(np.bincount(high - first), rank)
    low = patterns[high == upper + first] & (LOW_BINS - 1)
    pattern = upper + first << LOW_BITS | _bin_of(np.bincount(low, minlength=LOW_BINS), rank - above)[0]
    wanted = rank - int(np.count_nonzero(patterns > pattern))
    return _number(pattern), int(places[patterns == pattern][wanted - 1]) + 1


def _counted(counting: Counting, keep: int, place: int, high: Ints) -> Bound:
    """The bound of one parent by counting alone: a pass after that for `high`, and another up to the cut."""
    upper, above = _bin_of(high, keep)
    last, above_last = _bin_of(counting.low(place, upper), keep - above)
    pattern, wanted = upper << LOW_BITS | last, keep - above - above_last
    for found in counting.equal(place, pattern):
        if len(found) >= wanted:
            return _number(pattern), int(found[wanted - 1]) + 1
        wanted -= len(found)
    raise AssertionError("the counts promised this many equal elements")


def _bin_of(counts: Ints, keep: int) -> tuple[int, int]:
    """Bin that holds the keep-th greatest element, and how many lie in greater bins."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, keep))
    return len(counts) - 1 - place, int(from_top[place - 1]) if place else 0


def _number(pattern: int) -> float:
    return float(np.int32(pattern).view(np.float32))
