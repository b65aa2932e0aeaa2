"""Number 5 of the contract: the k greatest magnitudes of a tensor, exactly, without sorting it.

The bit patterns of |x| sort as the numbers do. A sample brackets the wanted pattern; one pass then counts
what lies above the bracket and collects what lies inside, about one element in a hundred. Differences of
bfloat16 weights take few values: where the sample shows only a few in the bracket, the pass counts each of
them instead. Should either miss, passes that count patterns by their upper and lower bits settle it in fixed
memory. Whatever the sample says, the answer is the same.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Protocol, TypeAlias

import numpy as np

Ints: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Bound: TypeAlias = tuple[float, int]
LOW_BITS = 16
LOW_BINS = 1 << LOW_BITS
NONE_KEPT: Bound = (3.4028234663852886e38, 0)  # the greatest float32: no finite magnitude lies above it
HIGH_BINS = 1 << (31 - LOW_BITS)
BEYOND = HIGH_BINS << LOW_BITS  # above every pattern
STRIDE = 16  # at least one element in so many is sampled: 0.1 ns per element
SAMPLED = 1 << 18  # elements sampled of a tensor, about, where one in STRIDE would be more: 1 MiB
SIGMAS = 5  # half width of the bracket in standard errors of the sampled rank
VALUES = 4  # patterns that are counted one by one, at most
REPEATED = 8  # times that each of them comes up in the sample's bracket, on average and at least
COLLECTED = 1 << 21  # most elements collected per parent before counting takes over: 24 MiB


@dataclass(frozen=True)
class Bracket:
    """Patterns from `bottom` to below `top`; values: those to be counted, where none is to be collected.

    A bracket without values that holds nothing is not looked into.
    """

    bottom: int = 0
    top: int = 0
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What one block holds of one tensor. start: of the block, in elements.

    above: how many patterns are `top` or more. inside: how many lie in the bracket. counts: of each value.
    places and patterns: of what lies inside, where that is collected.
    """

    start: int
    above: int
    inside: int
    counts: tuple[int, ...]
    places: Ints
    patterns: Ints


class Counting(Protocol):
    """What selection asks about the magnitudes of one tensor; place: of a parent. Patterns are |x|'s bits."""

    def sample(self, stride: int) -> list[Ints]:
        """Per parent, the patterns of one element in `stride` of each block."""
        ...

    def look(self, brackets: Sequence[Bracket]) -> Iterator[Sequence[Seen]]:
        """Per block and parent: what lies above and inside its bracket."""
        ...

    def high(self) -> list[Ints]:
        """Per parent, how many elements have which upper 15 bits."""
        ...

    def low(self, place: int, upper: int) -> Ints:
        """How many elements whose upper bits are `upper` have which lower 16 bits."""
        ...

    def equal(self, place: int, pattern: int, start: int) -> Iterator[Ints]:
        """Per block: the places of the elements with that very pattern, in order; none of blocks before."""
        ...


@dataclass
class _Gathered:
    """What one pass finds of one parent. starts and counts: of every block, where values are counted."""

    above: int = 0
    inside: int = 0
    starts: list[int] = field(default_factory=list)
    counts: list[tuple[int, ...]] = field(default_factory=list)
    places: list[Ints] = field(default_factory=list)
    patterns: list[Ints] = field(default_factory=list)

    def add(self, seen: Seen) -> None:
        self.above += seen.above
        self.inside += seen.inside
        if seen.counts:
            self.starts.append(seen.start)
            self.counts.append(seen.counts)
        elif self.inside <= COLLECTED:
            self.places.append(seen.places)
            self.patterns.append(seen.patterns)


def kept_magnitudes(counting: Counting, keeps: Sequence[int], elements: int) -> list[Bound]:
    """Per tensor of so many elements, the threshold and the cut that select its keeps[i] greatest |x|.

    Selected are the elements with |x| above the threshold, and those equal to it at a flat index below the
    cut: the lowest index comes first among equals. keeps: 0 to the tensor's size.
    """
    if not any(keeps):
        return [NONE_KEPT] * len(keeps)
    sampled = counting.sample(max(STRIDE, elements // SAMPLED))
    brackets = [_bracket(one, keep, elements) for one, keep in zip(sampled, keeps, strict=True)]
    gathered = [_Gathered() for _ in keeps]
    for found in counting.look(brackets):
        for one, seen in zip(gathered, found, strict=True):
            one.add(seen)
    bounds = [
        _settled(counting, place, bracket, gathered[place], keeps[place])
        for place, bracket in enumerate(brackets)
    ]
    high = counting.high() if None in bounds else []
    return [
        _counted(counting, keeps[place], place, high[place]) if bound is None else bound
        for place, bound in enumerate(bounds)
    ]


def _bracket(sample: Ints, keep: int, elements: int) -> Bracket:
    """Where the keep-th greatest pattern should lie, by a sample of the elements."""
    if keep == 0:
        return Bracket()
    total = len(sample)
    rank = keep / elements * total
    margin = SIGMAS * math.sqrt(rank) + SIGMAS
    most, least = math.floor(rank - margin), math.ceil(rank + margin)
    ends = [total - most] if most >= 1 else []
    ends += [total - least] if least < total else []
    parted = np.partition(sample, ends) if ends else sample
    top = int(parted[total - most]) + 1 if most >= 1 else BEYOND
    bottom = int(parted[total - least]) if least < total else 0
    inside = sample[(bottom <= sample) & (sample < top)]
    values = tuple(np.unique(inside).tolist())
    if 0 < len(values) <= VALUES and len(inside) >= REPEATED * len(values):
        return Bracket(values[0], values[-1] + 1, values)
    return Bracket(bottom, top) if len(inside) / total * elements <= COLLECTED else Bracket()


def _settled(counting: Counting, place: int, bracket: Bracket, found: _Gathered, keep: int) -> Bound | None:
    """The bound by what one pass found; None if the bracket missed it, or held more than was collected."""
    rank = keep - found.above
    if keep == 0:
        return NONE_KEPT
    if not 1 <= rank <= found.inside:
        return None
    if not bracket.values:
        return _within(found, rank) if found.inside <= COLLECTED else None
    totals = [sum(block) for block in zip(*found.counts, strict=True)]
    if sum(totals) < found.inside:
        return None  # values that the sample had not shown
    down = list(accumulate(reversed(totals)))
    which = next(n for n, reached in enumerate(down) if reached >= rank)
    value = len(totals) - 1 - which
    wanted = rank - (down[which - 1] if which else 0)
    pattern, blocks = bracket.values[value], zip(found.starts, found.counts, strict=True)
    for start, counts in blocks:  # only the block of the last element kept is gone through for places
        if counts[value] >= wanted:
            return _reached(counting.equal(place, pattern, start), pattern, wanted)
        wanted -= counts[value]
    raise AssertionError("the blocks' counts are those of their total")


def _reached(blocks: Iterator[Ints], pattern: int, wanted: int) -> Bound:
    """The bound at a pattern whose places come block by block."""
    for places in blocks:
        if len(places) >= wanted:
            return _number(pattern), int(places[wanted - 1]) + 1
        wanted -= len(places)
    raise AssertionError("the counts promised this many equal elements")


def _within(found: _Gathered, rank: int) -> Bound:
    """The bound at the element of that rank among those collected."""
    places, patterns = np.concatenate(found.places), np.concatenate(found.patterns)
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
    pattern = upper << LOW_BITS | last
    return _reached(counting.equal(place, pattern, 0), pattern, keep - above - above_last)


def total(counts: Iterator[Sequence[Ints]]) -> list[Ints]:
    """Sums of each place's counts over all slices."""
    found = list(next(counts))
    for more in counts:
        for so_far, added in zip(found, more, strict=True):
            np.add(so_far, added, out=so_far)
    return found


def _bin_of(counts: Ints, keep: int) -> tuple[int, int]:
    """Bin that holds the keep-th greatest element, and how many lie in greater bins."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, keep))
    return len(counts) - 1 - place, int(from_top[place - 1]) if place else 0


def _number(pattern: int) -> float:
    return float(np.int32(pattern).view(np.float32))
