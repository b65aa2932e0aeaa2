"""Magnitudes counted plainly, in torch and numpy: what selection.py asks of one tensor."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor, int32

from stages.core.weights.method import Slice
from stages.core.weights.selection import BEYOND, HIGH_BINS, LOW_BINS, LOW_BITS, Bracket, Ints, Seen, total

T = TypeVar("T")


class Pass(Protocol):
    """One pass over a tensor: the function's values for each slice, in order."""

    def __call__(self, function: Callable[[Slice], T], stride: int = 1) -> Iterator[T]:
        """Iterate over function(slice), or over function of one element in `stride` of it."""
        ...


class Slices:
    """selection.Counting by passes over slices."""

    def __init__(self, each: Pass) -> None:
        self._each = each

    def sample(self, stride: int) -> list[Ints]:
        """Patterns of one element in `stride`, per parent."""
        found = zip(*self._each(lambda given: [_patterns(x) for x in given.tensors], stride), strict=True)
        return [np.concatenate(blocks) for blocks in found]

    def look(self, brackets: Sequence[Bracket]) -> Iterator[list[Seen]]:
        """What lies above and inside the brackets."""
        return self._each(
            lambda given: [
                _seen(_patterns(x), bracket, given.start)
                for x, bracket in zip(given.tensors, brackets, strict=True)
            ]
        )

    def high(self) -> list[Ints]:
        """Counts of the upper bits per parent."""
        return total(self._each(lambda given: [_high(x) for x in given.tensors]))

    def low(self, place: int, upper: int) -> Ints:
        """Counts of the lower bits under one upper part."""

        def lower(given: Slice) -> list[Ints]:
            bits = _patterns(given.tensors[place])
            return [np.bincount(bits[bits >> LOW_BITS == upper] & (LOW_BINS - 1), minlength=LOW_BINS)]

        (found,) = total(self._each(lower))
        return found

    def equal(self, place: int, pattern: int, start: int) -> Iterator[Ints]:
        """Places of one pattern, from the block that begins at `start`."""
        return self._each(
            lambda given: (
                np.flatnonzero(_patterns(given.tensors[place]) == pattern) + given.start
                if given.start >= start
                else np.empty(0, np.int64)
            )
        )


def _seen(bits: Ints, bracket: Bracket, start: int) -> Seen:
    above = int(np.count_nonzero(bits >= bracket.top)) if bracket.top < BEYOND else 0
    inside = (bits >= bracket.bottom) & (bits - bracket.bottom < bracket.top - bracket.bottom)
    counts = tuple(int(np.count_nonzero(bits == value)) for value in bracket.values)
    places = np.flatnonzero(inside & (not counts))
    return Seen(start, above, int(np.count_nonzero(inside)), counts, places + start, bits[places])


def _high(x: Tensor) -> Ints:
    return np.bincount(_patterns(x) >> LOW_BITS, minlength=HIGH_BINS)


def _patterns(x: Tensor) -> Ints:
    return x.abs().view(int32).numpy()
