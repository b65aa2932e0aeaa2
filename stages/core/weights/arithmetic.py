"""Numbers 1, 4 and 7 of the contract on torch tensors: widening, sums over a tensor, rounding."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stages.core.errors import Unmergeable
from stages.core.weights.numerics import LEAF


def finite(block: Tensor) -> bool:
    """Whether no element is a NaN or an infinity. An empty block is finite."""
    if block.numel() == 0:
        return True
    least, greatest = torch.aminmax(block)
    return math.isfinite(least.item()) and math.isfinite(greatest.item())


def widen(block: Tensor, role: str) -> Tensor:
    """float32 copy of a float block, exactly. Raises Unmergeable if an element is not finite."""
    if not finite(block):
        raise Unmergeable(f"{role} holds a NaN or an infinity. Repair that checkpoint or leave it out")
    return block.to(torch.float32)


def narrow(block: Tensor, dtype: torch.dtype) -> Tensor:
    """`block` rounded once to `dtype`, to nearest even. Raises Unmergeable if an element overflows."""
    rounded = block.to(dtype)
    if not finite(rounded):
        raise Unmergeable(f"a merged weight is beyond {dtype}. Choose float32, or smaller coefficients")
    return rounded


def leaf_sums(values: Tensor) -> list[float]:
    """Sum of each leaf of 2^16 elements of float64 [n], the last leaf padded with zeros."""
    leaves = -(-values.numel() // LEAF)
    if values.numel() < leaves * LEAF:
        values = torch.cat([values, values.new_zeros(leaves * LEAF - values.numel())])
    tree = values.reshape(leaves, LEAF)
    while tree.shape[1] > 1:
        half = tree.shape[1] // 2
        tree = tree[:, :half] + tree[:, half:]
    sums: list[float] = tree[:, 0].tolist()
    return sums


def pairwise(sums: Sequence[float]) -> float:
    """Sum of leaf sums, neighbours first, an odd one out moving up unchanged. 0.0 for none."""
    level = list(sums)
    while len(level) > 1:
        pairs = [level[i] + level[i + 1] for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0] if level else 0.0
