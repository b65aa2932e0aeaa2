"""Number 6 of the contract: counter-based masks, the same for any block, thread or machine."""

import numpy as np
import torch
from torch import Tensor

from stages.core.weights.numerics import drop_count

GOLDEN = 0x9E3779B97F4A7C15
PER_WORD = 4  # 16-bit draws in a 64-bit word


def kept(key: int, start: int, count: int, drop: float) -> Tensor:
    """float32 [count]: ones for the elements start … start+count that are kept, zeros for those dropped.

    An element is kept if its draw is at least 65536 · drop.
    """
    return torch.from_numpy((_draws(key, start, count) >= np.uint16(drop_count(drop))).astype(np.float32))


def draws(key: int, start: int, count: int) -> Tensor:
    """float32 [count]: the draws, 0 … 65535, of the elements start … start+count."""
    return torch.from_numpy(_draws(key, start, count).astype(np.float32))


def _draws(key: int, start: int, count: int) -> "np.ndarray[tuple[int], np.dtype[np.uint16]]":
    """Element i takes bits 16·(i mod 4) … +15 of word i // 4; word j is output j of splitmix64 from `key`.

    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
    """
    first, skipped = divmod(start, PER_WORD)
    words = -(-(count + skipped) // PER_WORD)
    word = np.arange(first + 1, first + 1 + words, dtype="<u8")
    word *= np.uint64(GOLDEN)
    word += np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word ^= word >> np.uint64(shift)
        word *= np.uint64(factor)
    word ^= word >> np.uint64(31)
    return word.view("<u2")[skipped : skipped + count]
