"""Number 5 of the contract: the k greatest magnitudes of a tensor, exactly, without sorting it.

The bit patterns of |x| sort as the numbers do. A sample brackets the wanted pattern; one pass then counts
what lies above the bracket and collects what lies inside, about one element in a hundred. Should the bracket
miss, or hold too many (differences of bfloat16 weights take few values), passes that count patterns by their
upper and lower bits settle it in fixed memory. Either way the answer is the same.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from torch import Tensor, int32

from stages.core.weights.method import Slice

T = TypeVar("T")
Ints: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Bound: TypeAlias = tuple[float, int]
LOW_BITS = 16
LOW_BINS = 1 << LOW_BITS
HIGH_BINS = 1 << (31 - LOW_BITS)
STRIDE = 16  # one element in so many is sampled: 0.1 ns per element, for a bracket of one or two bins
SIGMAS = 5  # half width of the bracket in standard errors of the sampled rank
COLLECTED = 1 << 21  # most elements collected per parent before counting takes over: 24 MiB


class Pass(Protocol):
    """One pass over a tensor: the function's values for each slice, in order."""

    def __call__(self, function: Callable[[Slice], T], stride: int = 1) -> Iterator[T]:
        """Iterate over function(slice), or over function of one element in `stride` of it."""
        ...


@dataclass
class _Inside:
    """What one pass finds of one parent: elements above its bracket, and flat indices and patterns inside."""

    above: int
    places: list[Ints]
    patterns: list[Ints]


def kept_magnitudes(each: Pass, keep: Sequence[int]) -> list[Bound]:
    """Per parent, the threshold and the cut that select exactly its keep[parent] greatest |x|.

    Selected are the elements with |x| above the threshold, and those equal to it at a flat index below the
    cut: the lowest index comes first among equals. keep: one for each parent, 1 to the tensor's size.
    """
    sampled = _total(each(lambda given: [_high(x) for x in given.tensors], stride=STRIDE))
    brackets = [_bracket(counts, count / STRIDE) for counts, count in zip(sampled, keep, strict=True)]
    found = _collect(each, brackets)
    bounds: list[Bound | None] = [None] * len(keep)
    if found:
        bounds = [_within(inside, count) for inside, count in zip(found, keep, strict=True)]
    return [
        _counted(each, keep[place], place) if bound is None else bound for place, bound in enumerate(bounds)
    ]


def _patterns(x: Tensor) -> Ints:
    return x.abs().view(int32).numpy()


def _high(x: Tensor) -> Ints:
    return np.bincount(_patterns(x) >> LOW_BITS, minlength=HIGH_BINS)


def _bracket(counts: Ints, rank: float) -> tuple[int, int]:
    """Patterns from … to below … that should hold the sampled element of that rank from the top."""
    margin = SIGMAS * math.sqrt(rank) + SIGMAS
    total = int(counts.sum())
    least, _ = _bin_of(counts, min(total, math.ceil(rank + margin)))
    most, _ = _bin_of(counts, max(1, math.floor(rank - margin)))
    top = HIGH_BINS if rank <= margin else most + 1
    bottom = 0 if rank + margin >= total else least
    return bottom << LOW_BITS, top << LOW_BITS


def _collect(each: Pass, brackets: Sequence[tuple[int, int]]) -> list[_Inside] | None:
    """One pass over all parents; None as soon as a bracket holds more than COLLECTED elements."""

    def look(given: Slice) -> list[tuple[int, Ints, Ints]]:
        found = []
        for x, (bottom, top) in zip(given.tensors, brackets, strict=True):
            bits = _patterns(x)
            above = int(np.count_nonzero(bits >= top)) if top < HIGH_BINS << LOW_BITS else 0
            places = np.flatnonzero((bits - np.int32(bottom)).view(np.uint32) < np.uint32(top - bottom))
            found.append((above, places + given.start, bits[places]))
        return found

    gathered = [_Inside(0, [], []) for _ in brackets]
    held = [0] * len(brackets)
    for found in each(look):
        for place, (above, places, patterns) in enumerate(found):
            gathered[place].above += above
            gathered[place].places.append(places)
            gathered[place].patterns.append(patterns)
            held[place] += len(places)
        if max(held) > COLLECTED:
            return None
    return gathered


def _within(inside: _Inside, keep: int) -> Bound | None:
    """The bound, if the keep-th greatest element is among those collected."""
    places, patterns = np.concatenate(inside.places), np.concatenate(inside.patterns)
    rank = keep - inside.above
    if not 1 <= rank <= len(patterns):
        return None
    least = int(patterns.min())
    if int(patterns.max()) - least < len(patterns):
        pattern = least + _bin_of(np.bincount(patterns - least), rank)[0]
    else:
        pattern = int(np.partition(patterns, len(patterns) - rank)[len(patterns) - rank])
    wanted = rank - int(np.count_nonzero(patterns > pattern))
    return _number(pattern), int(places[patterns == pattern][wanted - 1]) + 1


def _counted(each: Pass, keep: int, place: int) -> Bound:
    """The bound of one parent by counting alone: two passes, and a third up to the cut."""
    (high,) = _total(each(lambda given: [_high(given.tensors[place])]))
    upper, above = _bin_of(high, keep)

    def lower(given: Slice) -> list[Ints]:
        bits = _patterns(given.tensors[place])
        return [np.bincount(bits[bits >> LOW_BITS == upper] & (LOW_BINS - 1), minlength=LOW_BINS)]

    (low,) = _total(each(lower))
    last, above_last = _bin_of(low, keep - above)
    pattern, wanted = upper << LOW_BITS | last, keep - above - above_last
    for found in each(lambda given: np.flatnonzero(_patterns(given.tensors[place]) == pattern) + given.start):
        if len(found) >= wanted:
            return _number(pattern), int(found[wanted - 1]) + 1
        wanted -= len(found)
    raise AssertionError("the counts promised this many equal elements")


def _total(counts: Iterator[Sequence[Ints]]) -> list[Ints]:
    """Sums of each place's counts over all slices."""
    total = list(next(counts))
    for found in counts:
        total = [so_far + more for so_far, more in zip(total, found, strict=True)]
    return total


def _bin_of(counts: Ints, keep: int) -> tuple[int, int]:
    """Bin that holds the keep-th greatest element, and how many lie in greater bins."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, keep))
    return len(counts) - 1 - place, int(from_top[place - 1]) if place else 0


def _number(pattern: int) -> float:
    return float(np.int32(pattern).view(np.float32))
