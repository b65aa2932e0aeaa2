"""Numbers 1, 4 and 7 of the contract on torch tensors: widening, sums over a tensor, rounding."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from stages.core.errors import Unmergeable
from stages.core.weights.numerics import LEAF

Wide: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def finite(block: Tensor) -> bool:
    """Whether no element is a NaN or an infinity. An empty block is finite."""
    if block.numel() == 0:
        return True
    least, greatest = torch.aminmax(block)
    return math.isfinite(least.item()) and math.isfinite(greatest.item())


def check_finite(block: Tensor, role: str) -> None:
    """Raises Unmergeable if an element is a NaN or an infinity."""
    if not finite(block):
        raise Unmergeable(f"{role} holds a NaN or an infinity. Repair that checkpoint or leave it out")


def narrow(block: Tensor, dtype: torch.dtype) -> Tensor:
    """`block` rounded once to `dtype`, to nearest even. Raises Unmergeable if an element overflows."""
    rounded = block.to(dtype)
    if not finite(rounded):
        raise Unmergeable(f"a merged weight is beyond {dtype}. Choose float32, or smaller coefficients")
    return rounded


def leaves(block: Tensor) -> list[Wide]:
    """float64 copies of a block's leaves of 2^16 elements; the last may be shorter."""
    starts = range(0, block.numel(), LEAF)
    return [block[start : start + LEAF].double().numpy() for start in starts]


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
