"""Numbers 1, 4 and 7 of the contract on torch tensors: widening, sums over a tensor, rounding."""

import math

import torch
from torch import Tensor

from stages.core.errors import Unmergeable
from stages.core.weights.numerics import LEAF
from stages.core.weights.sums import Wide


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
