"""Numbers 1, 4 and 7 of the contract on torch tensors: widening, sums over a tensor, rounding."""

import math

import torch
from torch import Tensor

from stages.core.weights.backend import overflow
from stages.core.weights.numerics import LEAF
from stages.core.weights.sums import Wide


def finite(block: Tensor) -> bool:
    """Whether no element is a NaN or an infinity. An empty block is finite."""
    if block.numel() == 0:
        return True
    least, greatest = torch.aminmax(block)
    return math.isfinite(least.item()) and math.isfinite(greatest.item())


def narrow(block: Tensor, dtype: torch.dtype) -> Tensor:
    """`block` rounded once to `dtype`, to nearest even. Raises Unmergeable if an element overflows."""
    rounded = block.to(dtype)
    if not finite(rounded):
        raise overflow(str(dtype).removeprefix("torch."))
    return rounded


def leaves(block: Tensor) -> list[Wide]:
    """float64 copies of a block's leaves of 2^16 elements; the last may be shorter."""
    starts = range(0, block.numel(), LEAF)
    return [block[start : start + LEAF].double().numpy() for start in starts]
