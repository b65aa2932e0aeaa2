"""Number 6 of the contract: counter-based masks, the same for any block, thread or machine."""

import numpy as np
import torch
from torch import Tensor

from stages.core.weights.numerics import drop_count

GOLDEN = 0x9E3779B97F4A7C15
PER_WORD = 4  # 16-bit draws in a 64-bit word


def kept(key: int, start: int, count: int, drop: float) -> Tensor:
    """float32 [count]: ones for the elements start … start+count that are kept, zeros for those dropped.

    Element i takes bits 16·(i mod 4) … +15 of word i // 4, and is kept if they are at least 65536 · drop.
    Word j is output j of splitmix64 from state `key`. start: a multiple of 4.
    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators".
    """
    first, words = start // PER_WORD, -(-count // PER_WORD)
    word = np.arange(first + 1, first + 1 + words, dtype="<u8")
    word *= np.uint64(GOLDEN)
    word += np.uint64(key)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word ^= word >> np.uint64(shift)
        word *= np.uint64(factor)
    word ^= word >> np.uint64(31)
    draws = word.view("<u2")[:count]
    return torch.from_numpy((draws >= np.uint16(drop_count(drop))).astype(np.float32))
