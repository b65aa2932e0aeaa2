"""Magnitudes counted plainly, in torch and numpy: what selection.py asks of one tensor."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor, int32

from stages.core.weights.method import Slice
from stages.core.weights.selection import HIGH_BINS, LOW_BINS, LOW_BITS, Ints

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

    def high(self, stride: int) -> list[Ints]:
        """Counts of the upper bits per parent."""
        return total(self._each(lambda given: [_high(x) for x in given.tensors], stride=stride))

    def inside(self, brackets: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, Ints, Ints]]]:
        """What lies above and inside the brackets."""

        def look(given: Slice) -> list[tuple[int, Ints, Ints]]:
            found = []
            for x, (bottom, top) in zip(given.tensors, brackets, strict=True):
                bits = _patterns(x)
                above = int(np.count_nonzero(bits >= top)) if top < HIGH_BINS << LOW_BITS else 0
                places = np.flatnonzero((bits - np.int32(bottom)).view(np.uint32) < np.uint32(top - bottom))
                found.append((above, places + given.start, bits[places]))
            return found

        return self._each(look)

    def low(self, place: int, upper: int) -> Ints:
        """Counts of the lower bits under one upper part."""

        def lower(given: Slice) -> list[Ints]:
            bits = _patterns(given.tensors[place])
            return [np.bincount(bits[bits >> LOW_BITS == upper] & (LOW_BINS - 1), minlength=LOW_BINS)]

        (found,) = total(self._each(lower))
        return found

    def equal(self, place: int, pattern: int) -> Iterator[Ints]:
        """Places of one pattern."""
        return self._each(
            lambda given: np.flatnonzero(_patterns(given.tensors[place]) == pattern) + given.start
        )


def total(counts: Iterator[Sequence[Ints]]) -> list[Ints]:
    """Sums of each place's counts over all slices."""
    found = list(next(counts))
    for more in counts:
        found = [so_far + added for so_far, added in zip(found, more, strict=True)]
    return found


def _patterns(x: Tensor) -> Ints:
    return x.abs().view(int32).numpy()


def _high(x: Tensor) -> Ints:
    return np.bincount(_patterns(x) >> LOW_BITS, minlength=HIGH_BINS)
