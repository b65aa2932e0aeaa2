"""What every kernel does to a chunk of one tensor: widen, subtract the base, mask, round. Compiled inline.

A chunk fits in the first cache. Slices are taken before loops: only plain indices become vector code.
bfloat16 comes and goes as uint16.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

CHUNK = 2048  # elements; a multiple of 4, so that masks begin at a word
FINITE = np.uint32(0x7F800000)  # magnitudes below it are finite
HALF = np.uint32(0x7FFF)
ONE = np.uint32(1)
SIXTEEN = np.uint32(16)
MAGNITUDE = np.uint32(0x7FFFFFFF)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def widen(source: Any, target: Any) -> None:
    """target: float32 of the same length."""
    raise NotImplementedError


@overload(widen)
def _widen(source: Any, target: Any) -> Any:
    if source.dtype == types.uint16:

        def from_bfloat16(source: Any, target: Any) -> None:
            bits = target.view(np.uint32)
            for i in range(len(source)):
                bits[i] = np.uint32(source[i]) << SIXTEEN

        return from_bfloat16

    def from_float32(source: Any, target: Any) -> None:
        for i in range(len(source)):
            target[i] = source[i]

    return from_float32


def narrow(source: Any, target: Any) -> bool:
    """Round float32 to target's type, to nearest even; whether anything is or becomes not finite."""
    raise NotImplementedError


@overload(narrow)
def _narrow(source: Any, target: Any) -> Any:
    if target.dtype == types.uint16:

        def to_bfloat16(source: Any, target: Any) -> Any:
            bits = source.view(np.uint32)
            greatest = np.uint32(0)
            for i in range(len(target)):
                magnitude = bits[i] & MAGNITUDE
                rounded = np.uint32(magnitude + HALF + ((magnitude >> SIXTEEN) & ONE))
                greatest = max(greatest, rounded)
                target[i] = np.uint16((rounded | (bits[i] & ~MAGNITUDE)) >> SIXTEEN)
            return greatest >= FINITE

        return to_bfloat16

    def to_float32(source: Any, target: Any) -> Any:
        bits = source.view(np.uint32)
        greatest = np.uint32(0)
        for i in range(len(target)):
            greatest = max(greatest, bits[i] & MAGNITUDE)
            target[i] = source[i]
        return greatest >= FINITE

    return to_float32


@njit(inline="always")
def load(row: Any, base: Any, target: Any) -> None:
    """Widen one parent's chunk; subtract the base unless it is empty."""
    widen(row, target)
    if len(base):
        for i in range(len(target)):
            target[i] = target[i] - base[i]


@njit
def mask(target: Any, key: Any, start: int, least: Any, words: Any) -> None:
    """Multiply by 1 where the element's draw is at least `least`, else by 0 (masks.kept). words: scratch."""
    count = (len(target) + 3) // 4
    used = words[:count]
    first = np.uint64(start // 4 + 1)
    for j in range(count):
        word = (first + np.uint64(j)) * GOLDEN + key
        word = (word ^ (word >> np.uint64(30))) * FIRST
        word = (word ^ (word >> np.uint64(27))) * SECOND
        used[j] = word ^ (word >> np.uint64(31))
    draws = used.view(np.uint16)[: len(target)]
    for i in range(len(target)):
        target[i] = target[i] * np.float32(draws[i] >= least)


@njit(inline="always")
def sign(x: Any) -> Any:
    """-1, 0 or 1 as float32; 0 for a NaN, as torch has it."""
    return np.float32(x > np.float32(0)) - np.float32(x < np.float32(0))


@njit(inline="always")
def trim(x: Any, bound: Any) -> None:
    """Zero where the magnitude is at most `bound`."""
    for i in range(len(x)):
        x[i] = x[i] if (x[i] > bound) | (x[i] < -bound) else np.float32(0)


@njit(inline="always")
def vote_for(x: Any, votes: Any, weight: Any, signs: bool, first: bool) -> None:
    """Add weight * x, or weight * sign(x) if `signs`; the first time, set."""
    if signs:
        for i in range(len(x)):
            term = sign(x[i]) * weight
            votes[i] = term if first else votes[i] + term
    else:
        for i in range(len(x)):
            term = x[i] * weight
            votes[i] = term if first else votes[i] + term


@njit(inline="always")
def agree(x: Any, votes: Any, total: Any, divisor: Any, weight: Any, counts: Any, first: bool) -> None:
    """Add what agrees with the elected sign to the sum and to the divisor; the first time, set."""
    for i in range(len(x)):
        agreeing = x[i] * (np.float32(-1) if votes[i] < np.float32(0) else np.float32(1))
        agreeing = np.float32(0) if agreeing < np.float32(0) else agreeing
        counted = sign(agreeing) * counts
        added = agreeing * weight
        divisor[i] = counted if first else divisor[i] + counted
        total[i] = added if first else total[i] + added
