"""Number 5 of the contract: the k greatest magnitudes of a tensor, exactly, without sorting it.

Streamed: the bit patterns of |x| sort as the numbers do, so one pass counts them by their upper bits and a
second counts those in the wanted bin by their lower bits. A third finds where to stop among equals, which are
common: differences of bfloat16 weights take few values.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from torch import Tensor, int32

from stages.core.weights.method import Slice

T = TypeVar("T")
Counts: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
LOW_BITS = 16
LOW_BINS = 1 << LOW_BITS
HIGH_BINS = 1 << (31 - LOW_BITS)


class Pass(Protocol):
    """One pass over a tensor: the function's values for each slice, in order."""

    def __call__(self, function: Callable[[Slice], T]) -> Iterator[T]:
        """Iterate over function(slice)."""
        ...


def kept_magnitudes(each: Pass, keep: int, parents: int) -> list[tuple[float, int]]:
    """Per parent, the threshold and the cut that select exactly its `keep` greatest |x|.

    Selected are the elements with |x| above the threshold, and those equal to it at a flat index below the
    cut: the lowest index comes first among equals. keep: 1 to the tensor's size.
    """
    places = range(parents)
    high = _total(each(lambda given: [_high(x) for x in given.tensors]))
    upper = [_bin_of(high[place], keep) for place in places]
    bins = [found for found, _ in upper]
    low = _total(each(lambda given: [_low(given.tensors[place], bins[place]) for place in places]))
    bounds = []
    for place, (high_bin, above) in enumerate(upper):
        low_bin, above_low = _bin_of(low[place], keep - above)
        wanted, equal = keep - above - above_low, int(low[place][low_bin])
        pattern = high_bin << LOW_BITS | low_bin
        cut = _cut(each, place, pattern, wanted) if wanted < equal else _end(each)
        bounds.append((float(np.array(pattern, dtype=np.int32).view(np.float32)), cut))
    return bounds


def _patterns(x: Tensor) -> Any:
    return x.abs().view(int32).numpy()


def _high(x: Tensor) -> Counts:
    return np.bincount(_patterns(x) >> LOW_BITS, minlength=HIGH_BINS)


def _low(x: Tensor, high_bin: int) -> Counts:
    bits = _patterns(x)
    return np.bincount(bits[bits >> LOW_BITS == high_bin] & (LOW_BINS - 1), minlength=LOW_BINS)


def _total(counts: Iterator[Sequence[Counts]]) -> list[Counts]:
    """Per parent, the sum of its counts over all slices."""
    total = list(next(counts))
    for found in counts:
        total = [so_far + more for so_far, more in zip(total, found, strict=True)]
    return total


def _bin_of(counts: Counts, keep: int) -> tuple[int, int]:
    """Bin that holds the keep-th greatest element, and how many lie in greater bins."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, keep))
    return len(counts) - 1 - place, int(from_top[place - 1]) if place else 0


def _cut(each: Pass, place: int, pattern: int, wanted: int) -> int:
    """Flat index just after the `wanted`-th element of a parent that has this bit pattern."""
    for found in each(lambda given: np.flatnonzero(_patterns(given.tensors[place]) == pattern) + given.start):
        if len(found) >= wanted:
            return int(found[wanted - 1]) + 1
        wanted -= len(found)
    raise AssertionError("the counts promised this many equal elements")


def _end(each: Pass) -> int:
    return max(each(lambda given: given.start + given.tensors[0].numel()))
