"""What every kernel does to a chunk of one tensor: widen, subtract the base, mask, round. Compiled inline.

A chunk fits in the first cache. Slices are taken before loops: only plain indices become vector code.
bfloat16 comes and goes as uint16, float16 as int16. Memory for chunks is handed in: kernels allocate nothing.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

CHUNK = 2048  # elements; a multiple of 4, so that masks begin at a word
FINITE = np.uint32(0x7F800000)  # magnitudes below it are finite
HALF = np.uint32(0x7FFF)
ONE = np.uint32(1)
THIRTEEN, SIXTEEN = np.uint32(13), np.uint32(16)
MAGNITUDE = np.uint32(0x7FFFFFFF)
SIGN_16, MAGNITUDE_16 = np.uint32(0x8000), np.uint32(0x7FFF)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

# float16: exponents are moved by 112; a product with 2^112 is exact, and makes numbers of subnormals too
MOVED = np.float32(2.0**112)
NORMAL_16 = np.uint32(113 << 23)  # the least magnitude that is normal in float16
BEYOND_16 = np.uint32((127 + 16) << 23)  # 65536: this and more is beyond float16
REBIASED = np.uint32(((15 - 127) << 23) & 0xFFFFFFFF)
ROUND_13 = np.uint32(0xFFF)
ALIGN = np.float32(0.5)  # adding it leaves a float16 subnormal in the lowest bits, rounded to nearest even
ALIGN_BITS = np.uint32(126 << 23)
INFINITY_16 = np.uint32(0x7C00)


def widen(source: Any, target: Any) -> None:
    """target: float32 of the same length."""
    raise AssertionError("only compiled")


@overload(widen)
def _widen(source: Any, target: Any) -> Any:
    if source.dtype == types.uint16:

        def from_bfloat16(source: Any, target: Any) -> None:
            bits = target.view(np.uint32)
            for i in range(len(source)):
                bits[i] = np.uint32(source[i]) << SIXTEEN

        return from_bfloat16
    if source.dtype == types.int16:

        def from_float16(source: Any, target: Any) -> None:
            bits = target.view(np.uint32)
            for i in range(len(source)):
                bits[i] = (np.uint32(source[i]) & MAGNITUDE_16) << THIRTEEN
            for i in range(len(source)):
                target[i] = target[i] * MOVED
            for i in range(len(source)):
                half = np.uint32(source[i])
                special = FINITE if half & MAGNITUDE_16 >= INFINITY_16 else np.uint32(0)
                bits[i] = bits[i] | special | ((half & SIGN_16) << SIXTEEN)

        return from_float16

    def from_float32(source: Any, target: Any) -> None:
        for i in range(len(source)):
            target[i] = source[i]

    return from_float32


def narrow(source: Any, target: Any) -> Any:
    """Round float32 to target's type, to nearest even; whether anything is or becomes not finite.

    `source` means nothing afterwards.
    """
    raise AssertionError("only compiled")


@overload(narrow)
def _narrow(source: Any, target: Any) -> Any:
    if target.dtype == types.uint16:

        def to_bfloat16(source: Any, target: Any) -> Any:
            bits = source.view(np.uint32)
            most = np.uint32(0)
            for i in range(len(target)):
                magnitude = bits[i] & MAGNITUDE
                rounded = np.uint32(magnitude + HALF + ((magnitude >> SIXTEEN) & ONE))
                most = max(most, rounded)
                target[i] = np.uint16((rounded | (bits[i] & ~MAGNITUDE)) >> SIXTEEN)
            return most >= FINITE

        return to_bfloat16
    if target.dtype == types.int16:

        def to_float16(source: Any, target: Any) -> Any:
            bits = source.view(np.uint32)
            most = np.uint32(0)
            for i in range(len(target)):
                magnitude = bits[i] & MAGNITUDE
                even = (magnitude >> THIRTEEN) & ONE  # numba's sums of uint32 are wider: they must wrap
                normal = np.uint32(np.uint32(magnitude + REBIASED + ROUND_13 + even) >> THIRTEEN)
                rounded = INFINITY_16 if magnitude >= BEYOND_16 else normal
                large = magnitude >= NORMAL_16
                rounded = rounded if large else np.uint32(0)
                most = max(most, rounded)
                target[i] = np.int16(rounded | ((bits[i] >> SIXTEEN) & SIGN_16))
                bits[i] = np.uint32(0) if large else magnitude
            for i in range(len(target)):
                source[i] = source[i] + ALIGN
            for i in range(len(target)):
                target[i] = target[i] | np.int16(bits[i] - ALIGN_BITS)
            return most >= INFINITY_16

        return to_float16

    def to_float32(source: Any, target: Any) -> Any:
        bits = source.view(np.uint32)
        most = np.uint32(0)
        for i in range(len(target)):
            most = max(most, bits[i] & MAGNITUDE)
            target[i] = source[i]
        return most >= FINITE

    return to_float32


def greatest(row: Any) -> Any:
    """The greatest magnitude of a row in its own type, as the pattern of a float32."""
    raise AssertionError("only compiled")


@overload(greatest)
def _greatest(row: Any) -> Any:
    if row.dtype == types.uint16:

        def of_bfloat16(row: Any) -> Any:
            most = np.uint32(0)
            for i in range(len(row)):
                most = max(most, (np.uint32(row[i]) << SIXTEEN) & MAGNITUDE)
            return most

        return of_bfloat16
    if row.dtype == types.int16:

        def of_float16(row: Any) -> Any:
            most = np.uint32(0)
            for i in range(len(row)):
                most = max(most, np.uint32(row[i]) & MAGNITUDE_16)
            return FINITE if most >= INFINITY_16 else most

        return of_float16

    def of_float32(row: Any) -> Any:
        bits = row.view(np.uint32)
        most = np.uint32(0)
        for i in range(len(bits)):
            most = max(most, bits[i] & MAGNITUDE)
        return most

    return of_float32


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
    """Zero where the magnitude is at most that of the pattern `bound`."""
    bits = x.view(np.uint32)
    for i in range(len(x)):
        bits[i] = bits[i] if bits[i] & MAGNITUDE > bound else np.uint32(0)


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
