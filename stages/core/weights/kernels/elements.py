"""What every kernel does to a chunk of one tensor: widen, subtract the base, mask, round. Compiled inline.

A chunk fits in the first cache. Slices are taken before loops: only plain indices become vector code.
bfloat16 comes and goes as uint16, float16 as int16. Memory for chunks is handed in: kernels allocate nothing.
"""

from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic, overload

CHUNK = 1024  # elements; a multiple of 4, so that masks begin at a word
FINITE = np.uint32(0x7F800000)  # magnitudes below it are finite
ZERO, UNIT = np.float32(0), np.float32(1)
HALF = np.uint32(0x7FFF)
BEYOND_BFLOAT16 = np.uint32(0x7F7F8000)  # this magnitude and more is beyond bfloat16, once rounded
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


@intrinsic
def _pointer(context: Any, rows: Any, place: Any) -> Any:
    """rows[place], a pointer, of a pointer to pointers."""
    del context

    def load_pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.load(builder.gep(arguments[0], [arguments[1]]))

    return rows.dtype(rows, types.intp), load_pointer


@njit(inline="always")
def row(rows: Any, place: int, start: int, stop: int) -> Any:
    """Elements start … stop of the row at `place`."""
    return carray(_pointer(rows, place), stop)[start:]


@njit(inline="always")
def pattern(x: Any) -> Any:
    """The bits of a float32."""
    return np.float32(x).view(np.uint32)


@njit(inline="always")
def number(bits: Any) -> Any:
    """The float32 of these bits; what numba widened to 64 bits is cut to 32 first."""
    return np.uint32(bits).view(np.float32)


def wide(x: Any) -> Any:
    """One element of a row as float32."""
    raise AssertionError("only compiled")


@overload(wide)
def _wide(x: Any) -> Any:
    if x == types.uint16:

        def from_bfloat16(x: Any) -> Any:
            return number(np.uint32(x) << SIXTEEN)

        return from_bfloat16
    if x == types.int16:

        def from_float16(x: Any) -> Any:
            half = np.uint32(x)
            moved = pattern(number((half & MAGNITUDE_16) << THIRTEEN) * MOVED)
            special = FINITE if half & MAGNITUDE_16 >= INFINITY_16 else np.uint32(0)
            return number(moved | special | ((half & SIGN_16) << SIXTEEN))

        return from_float16

    def from_float32(x: Any) -> Any:
        return x

    return from_float32


@njit
def widen(row: Any, target: Any) -> None:
    """target: float32 of the same length."""
    for i in range(len(target)):
        target[i] = wide(row[i])


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
                most = max(most, np.uint32(bits[i] & MAGNITUDE))
                up = HALF + ((bits[i] >> SIXTEEN) & ONE)
                target[i] = np.uint16(np.uint32(bits[i] + up) >> SIXTEEN)
            return most >= BEYOND_BFLOAT16

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
    """The pattern of a row's greatest magnitude in its own type; FINITE or more if not all are finite."""
    raise AssertionError("only compiled")


@overload(greatest)
def _greatest(row: Any) -> Any:
    if row.dtype in {types.uint16, types.int16}:  # 16 bits are compared as such: twice as many at once
        infinity = INFINITY_16 if row.dtype == types.int16 else FINITE >> SIXTEEN

        def of_half(row: Any) -> Any:
            halves, most = row.view(np.uint16), np.uint16(0)
            for i in range(len(halves)):
                most = max(most, np.uint16(halves[i] & MAGNITUDE_16))
            return FINITE if most >= infinity else np.uint32(most)

        return of_half

    def of_float32(row: Any) -> Any:
        bits = row.view(np.uint32)
        most = np.uint32(0)
        for i in range(len(bits)):
            most = max(most, bits[i] & MAGNITUDE)
        return most

    return of_float32


@njit
def load(row: Any, base: Any, target: Any) -> None:
    """Widen one parent's chunk; subtract the base unless it is empty."""
    if len(base):
        for i in range(len(target)):
            target[i] = wide(row[i]) - base[i]
    else:
        widen(row, target)


@njit
def draw(key: Any, start: int, count: int, words: Any) -> Any:
    """Draws 0 … 65535 of the elements start … start + count, in the memory of `words` (masks.draws)."""
    used = words[: (count + 3) // 4]
    counter = np.uint64(start // 4 + 1) * GOLDEN + key
    for j in range(len(used)):
        word = counter
        counter = np.uint64(counter + GOLDEN)
        word = (word ^ (word >> np.uint64(30))) * FIRST
        word = (word ^ (word >> np.uint64(27))) * SECOND
        used[j] = word ^ (word >> np.uint64(31))
    return used.view(np.uint16)[:count]


@njit(inline="always")
def kept(drawn: Any, least: Any) -> Any:
    """1 for a draw of at least `least`, else 0; as int32, of which many are compared at once."""
    return UNIT if np.int32(drawn) >= np.int32(least) else ZERO


@njit
def mask(target: Any, draws: Any, least: Any) -> None:
    """Multiply by 1 where the element's draw is at least `least`, else by 0 (masks.kept)."""
    for i in range(len(target)):
        target[i] = target[i] * kept(draws[i], least)


@njit
def add(row: Any, base: Any, draws: Any, least: Any, share: Any, total: Any, first: bool) -> None:
    """Add share * one parent, or its delta if there is a base, masked if there are draws; first: set."""
    if len(draws):
        for i in range(len(total)):
            term = (wide(row[i]) - wide(base[i])) * kept(draws[i], least) * share
            total[i] = term if first else total[i] + term
    elif len(base):
        for i in range(len(total)):
            term = (wide(row[i]) - wide(base[i])) * share
            total[i] = term if first else total[i] + term
    else:
        for i in range(len(total)):
            term = wide(row[i]) * share
            total[i] = term if first else total[i] + term


@njit(inline="always")
def sign(x: Any) -> Any:
    """-1, 0 or 1 as float32; 0 for a NaN, as torch has it."""
    return UNIT if x > ZERO else -UNIT if x < ZERO else ZERO


@njit
def refine(
    row: Any, base: Any, x: Any, times: Any, bound: Any, votes: Any, weight: Any, signs: bool, first: bool
) -> None:
    """One parent's delta in `x`, times `times` and trimmed; and its vote.

    bound: int32, the greatest pattern of a magnitude that is trimmed to zero; -1 for no trimming. The vote is
    weight * x, or weight * sign(x) if `signs`; it is added to `votes`, the first time put there.
    """
    if signs:
        for i in range(len(x)):
            x[i] = _trimmed((wide(row[i]) - wide(base[i])) * times, bound)
            term = sign(x[i]) * weight
            votes[i] = term if first else votes[i] + term
    else:
        for i in range(len(x)):
            x[i] = _trimmed((wide(row[i]) - wide(base[i])) * times, bound)
            term = x[i] * weight
            votes[i] = term if first else votes[i] + term


@njit
def refine_masked(
    row: Any, base: Any, draws: Any, least: Any, x: Any, times: Any, votes: Any, weight: Any, signs: bool,
    first: bool,
) -> None:  # fmt: skip
    """As `refine`, of a delta that is masked and not trimmed."""
    if signs:
        for i in range(len(x)):
            x[i] = (wide(row[i]) - wide(base[i])) * kept(draws[i], least) * times
            term = sign(x[i]) * weight
            votes[i] = term if first else votes[i] + term
    else:
        for i in range(len(x)):
            x[i] = (wide(row[i]) - wide(base[i])) * kept(draws[i], least) * times
            term = x[i] * weight
            votes[i] = term if first else votes[i] + term


@njit(inline="always")
def _trimmed(x: Any, bound: Any) -> Any:
    return x if np.int32(pattern(x) & MAGNITUDE) > bound else ZERO


@njit
def agree(x: Any, votes: Any, total: Any, divisor: Any, weight: Any, counts: Any, first: bool) -> None:
    """Add what agrees with the elected sign to the sum and to the divisor; the first time, set."""
    for i in range(len(x)):
        agreeing = x[i] * elected(votes[i])
        counted = counts if agreeing > ZERO else ZERO
        agreeing = ZERO if agreeing < ZERO else agreeing
        added = agreeing * weight
        divisor[i] = counted if first else divisor[i] + counted
        total[i] = added if first else total[i] + added


@njit(inline="always")
def elected(vote: Any) -> Any:
    """The sign that a vote elects: 1 for a draw."""
    return -UNIT if vote < ZERO else UNIT
