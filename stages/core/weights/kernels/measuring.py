"""Statistics of one slice, coded a second time (statistics.py, selection.py): the same trees and counts.

raw: [inputs, n], uint16 (bfloat16) or float32, the base first if `delta`. Sums are per leaf of 2^16 elements.
"""

from typing import Any

import numpy as np
from numba import njit

from stages.core.weights.kernels.compiled import kernel
from stages.core.weights.kernels.elements import CHUNK, FINITE, MAGNITUDE, load, mask, widen

LEAF = 1 << 16
EIGHTH = LEAF // 8
BFLOAT16_BYTES = 2
GROUP = 32  # elements looked at together for one that is inside a bracket: about one in a hundred is


@njit
def _fold(values: Any, count: int) -> float:
    """arithmetic.fold in place: the upper half is added to the lower until one is left."""
    while count > 1:
        half = 1
        while 2 * half < count:
            half *= 2
        lower, upper = values[: count - half], values[half:count]
        for i in range(count - half):
            lower[i] = lower[i] + upper[i]
        count = half
    return values[0]


@njit
def _dot(x: Any, y: Any, scratch: Any) -> float:
    """Tree sum of x * y over one leaf; for a whole one, the first three levels at once."""
    if len(x) < LEAF:
        for i in range(len(x)):
            scratch[i] = np.float64(x[i]) * np.float64(y[i])
        return _fold(scratch, len(x))
    sums = scratch[:EIGHTH]
    for part in range(2):  # the parity of the eighths: 0 2 4 6, then 1 3 5 7
        a, b = x[part * EIGHTH :][:EIGHTH], x[(part + 2) * EIGHTH :][:EIGHTH]
        c, d = x[(part + 4) * EIGHTH :][:EIGHTH], x[(part + 6) * EIGHTH :][:EIGHTH]
        e, f = y[part * EIGHTH :][:EIGHTH], y[(part + 2) * EIGHTH :][:EIGHTH]
        g, h = y[(part + 4) * EIGHTH :][:EIGHTH], y[(part + 6) * EIGHTH :][:EIGHTH]
        for i in range(EIGHTH):
            lower = np.float64(a[i]) * np.float64(e[i]) + np.float64(c[i]) * np.float64(g[i])
            upper = np.float64(b[i]) * np.float64(f[i]) + np.float64(d[i]) * np.float64(h[i])
            sums[i] = sums[i] + (lower + upper) if part else lower + upper
    return _fold(sums, EIGHTH)


@kernel
def dots(raw: Any, delta: bool, sums: Any) -> None:
    """sums: [pairs, leaves], the upper triangle row by row: dot products per leaf."""
    first = 1 if delta else 0
    parents = raw.shape[0] - first
    bases, wide = np.empty(LEAF * first, np.float32), np.empty((parents, LEAF), np.float32)
    scratch = np.empty(LEAF, np.float64)
    for leaf in range(sums.shape[1]):
        a = leaf * LEAF
        b = min(a + LEAF, raw.shape[1])
        base = bases[: (b - a) * first]
        if delta:
            widen(raw[0, a:b], base)
        for p in range(parents):
            load(raw[first + p, a:b], base, wide[p, : b - a])
        pair = 0
        for p in range(parents):
            for q in range(p, parents):
                sums[pair, leaf] = _dot(wide[p, : b - a], wide[q, : b - a], scratch)
                pair += 1


@njit
def _magnitude(x: Any, scratch: Any) -> float:
    """Tree sum of |x| over one leaf."""
    if len(x) < LEAF:
        for i in range(len(x)):
            scratch[i] = abs(np.float64(x[i]))
        return _fold(scratch, len(x))
    half, sums = LEAF // 2, scratch[: LEAF // 2]
    lower, upper = x[:half], x[half:]
    for i in range(half):
        sums[i] = abs(np.float64(lower[i])) + abs(np.float64(upper[i]))
    return _fold(sums, half)


@kernel
def masked_l1(raw: Any, start: int, keys: Any, least: Any, sums: Any) -> None:
    """sums: [2 * parents, leaves], of |delta| per leaf: all of it by parent, then what the masks keep."""
    parents = raw.shape[0] - 1
    bases, wide = np.empty(LEAF, np.float32), np.empty(LEAF, np.float32)
    scratch, words = np.empty(LEAF, np.float64), np.empty(LEAF // 4, np.uint64)
    for leaf in range(sums.shape[1]):
        a = leaf * LEAF
        b = min(a + LEAF, raw.shape[1])
        base, x = bases[: b - a], wide[: b - a]
        widen(raw[0, a:b], base)
        for p in range(parents):
            load(raw[p + 1, a:b], base, x)
            sums[p, leaf] = _magnitude(x, scratch)
            mask(x, keys[p], start + a, least, words)
            sums[parents + p, leaf] = _magnitude(x, scratch)


@kernel
def finite(row: Any) -> Any:
    """Whether no element of a row, as uint16 (bfloat16) or uint32 (float32), is a NaN or an infinity."""
    shift = np.uint32(16) if row.itemsize == BFLOAT16_BYTES else np.uint32(0)
    most = np.uint32(0)
    for i in range(len(row)):
        most = max(most, (np.uint32(row[i]) << shift) & MAGNITUDE)
    return most < FINITE


@kernel
def count_high(base: Any, parent: Any, counts: Any) -> None:
    """Count |delta| patterns by their upper 15 bits."""
    bases, deltas = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    for a in range(0, len(parent), CHUNK):
        bits = patterns_of(base[a : a + CHUNK], parent[a : a + CHUNK], bases, deltas)
        for i in range(len(bits)):
            counts[bits[i] >> np.uint32(16)] += 1


@kernel
def count_low(base: Any, parent: Any, upper: Any, counts: Any) -> None:
    """Count the lower 16 bits of those |delta| patterns whose upper bits are `upper`."""
    bases, deltas = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    for a in range(0, len(parent), CHUNK):
        bits = patterns_of(base[a : a + CHUNK], parent[a : a + CHUNK], bases, deltas)
        for i in range(len(bits)):
            if bits[i] >> np.uint32(16) == upper:
                counts[bits[i] & np.uint32(0xFFFF)] += 1


@njit
def patterns_of(base: Any, parent: Any, bases: Any, deltas: Any) -> Any:
    """uint32 patterns of |parent - base|, in the memory of `deltas`."""
    wide, x = bases[: len(parent)], deltas[: len(parent)]
    widen(base, wide)
    load(parent, wide, x)
    bits = x.view(np.uint32)
    for i in range(len(bits)):
        bits[i] = bits[i] & MAGNITUDE
    return bits


@kernel
def collect(base: Any, parent: Any, bottom: Any, top: Any, places: Any, patterns: Any) -> Any:
    """How many |delta| patterns are `top` or more, and how many lie from `bottom` to below `top`.

    The places and patterns of the latter are written down, in order. Patterns are uint32.
    """
    bases, deltas = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    width = np.uint32(top - bottom)
    above: Any = 0
    inside = 0
    for a in range(0, len(parent), CHUNK):
        bits = patterns_of(base[a : a + CHUNK], parent[a : a + CHUNK], bases, deltas)
        greater = np.int32(0)
        for i in range(len(bits)):
            greater += np.int32(bits[i] >= top)
        above += greater
        for g in range(0, len(bits), GROUP):
            group = bits[g : g + GROUP]
            some = np.int32(0)
            for i in range(len(group)):
                some += np.int32(np.uint32(group[i] - bottom) < width)
            if some:
                for i in range(len(group)):
                    if np.uint32(group[i] - bottom) < width:
                        places[inside] = a + g + i
                        patterns[inside] = group[i]
                        inside += 1
    return above, inside
