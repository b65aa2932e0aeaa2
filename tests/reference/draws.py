"""The masks' draws, written from their description alone: the engine shares nothing with it.

Key: the first 8 bytes, little-endian, of sha256("seed|parent digest|tensor name"). Word j is output j of
splitmix64 started at the key (Steele, Lea, Flood 2014). Element i takes bits 16 (i mod 4) … +15 of word
i // 4.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Draws = NDArray[np.int64]


def draws(seed: int, parent: str, tensor: str, count: int) -> Draws:
    """int64 [count], each 0 … 65535: the draws of one tensor of one parent."""
    text = f"{seed}|{parent}|{tensor}".encode()
    key = int.from_bytes(hashlib.sha256(text).digest()[:8], "little")
    state = np.uint64(key) + np.arange(1, count // 4 + 2, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = state ^ (state >> np.uint64(31))
    quarters = [(word >> np.uint64(16 * place)) & np.uint64(0xFFFF) for place in range(4)]
    return np.stack(quarters, axis=1).ravel()[:count].astype(np.int64)


def kept(seed: int, parent: str, tensor: str, count: int, drop: float) -> NDArray[np.bool_]:
    """bool [count]: where the draw is at least 65536 · drop, rounded to a whole number."""
    return draws(seed, parent, tensor, count) >= round(drop * 65536)
