"""Number 4 of the contract: float64 trees of one shape."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Wide: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def fold(leaf: Wide) -> float:
    """Sum of up to 2^16 elements: the upper half is added to the lower half until one is left.

    A short leaf counts as padded with zeros; halves that would be zeros alone are left out, which changes no
    sum. 0.0 for an empty leaf.
    """
    values = leaf
    while len(values) > 1:
        half = 1 << (len(values) - 1).bit_length() - 1
        lower = values[:half].copy()
        lower[: len(values) - half] += values[half:]
        values = lower
    return float(values[0]) if len(values) else 0.0


def pairwise(sums: Sequence[float]) -> float:
    """Sum of leaf sums, neighbours first, an odd one out moving up unchanged. 0.0 for none."""
    level = list(sums)
    while len(level) > 1:
        pairs = [level[i] + level[i + 1] for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0] if level else 0.0
