"""Statistics of one slice, coded a second time (plain.py, counting.py): the same trees and counts.

rows: where the inputs' rows lie (elements.row), the base first if `delta`. Sums are per leaf of 2^16
elements. work: float32, scratch: float64 [LEAF] and words: uint64, for leaves and chunks.
"""

from typing import Any

import numpy as np
from numba import njit

from stages.core.weights.kernels.elements import CHUNK, draw, load, mask, pattern, row, wide, widen

LEAF = 1 << 16
EIGHTH = LEAF // 8
NO_PATTERN = np.int32(-1)  # of no magnitude
GROUP = 32  # elements looked at together for one that is inside a bracket: about one in a hundred is


@njit
def _fold(values: Any, count: int) -> float:
    """sums.fold in place: the upper half is added to the lower until one is left."""
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


@njit
def dots(rows: Any, inputs: int, n: int, delta: bool, sums: Any, work: Any, scratch: Any) -> None:
    """sums: [pairs, leaves], the upper triangle row by row: dot products per leaf."""
    first = 1 if delta else 0
    parents = inputs - first
    for leaf in range(sums.shape[1]):
        a = leaf * LEAF
        b = min(a + LEAF, n)
        base, wide = work[: (b - a) * first], work[LEAF:]
        if delta:
            widen(row(rows, 0, a, b), base)
        for p in range(parents):
            load(row(rows, first + p, a, b), base, wide[p * LEAF :][: b - a])
        pair = 0
        for p in range(parents):
            for q in range(p, parents):
                x, y = wide[p * LEAF :][: b - a], wide[q * LEAF :][: b - a]
                sums[pair, leaf] = _dot(x, y, scratch)
                pair += 1


@njit
def _magnitude(x: Any, scratch: Any) -> float:
    """Tree sum of |x| over one leaf; for a whole one, the first three levels at once, as in _dot."""
    if len(x) < LEAF:
        for i in range(len(x)):
            scratch[i] = abs(np.float64(x[i]))
        return _fold(scratch, len(x))
    sums = scratch[:EIGHTH]
    for part in range(2):
        a, b = x[part * EIGHTH :][:EIGHTH], x[(part + 2) * EIGHTH :][:EIGHTH]
        c, d = x[(part + 4) * EIGHTH :][:EIGHTH], x[(part + 6) * EIGHTH :][:EIGHTH]
        for i in range(EIGHTH):
            lower = abs(np.float64(a[i])) + abs(np.float64(c[i]))
            upper = abs(np.float64(b[i])) + abs(np.float64(d[i]))
            sums[i] = sums[i] + (lower + upper) if part else lower + upper
    return _fold(sums, EIGHTH)


@njit
def masked_l1(
    rows: Any, inputs: int, n: int, start: int, keys: Any, least: Any, sums: Any, work: Any, scratch: Any,
    words: Any,
) -> None:  # fmt: skip
    """sums: [2 * parents, leaves], of |delta| per leaf: all of it by parent, then what the masks keep."""
    parents = inputs - 1
    for leaf in range(sums.shape[1]):
        a = leaf * LEAF
        b = min(a + LEAF, n)
        base, x = work[: b - a], work[LEAF:][: b - a]
        widen(row(rows, 0, a, b), base)
        for p in range(parents):
            load(row(rows, p + 1, a, b), base, x)
            sums[p, leaf] = _magnitude(x, scratch)
            mask(x, draw(keys[p], start + a, b - a, words), least[p])
            sums[parents + p, leaf] = _magnitude(x, scratch)


@njit
def count_high(base: Any, parent: Any, counts: Any, work: Any) -> None:
    """Count |delta| patterns by their upper 15 bits."""
    for a in range(0, len(parent), CHUNK):
        bits = patterns_of(base[a : a + CHUNK], parent[a : a + CHUNK], work)
        for i in range(len(bits)):
            counts[bits[i] >> np.uint32(16)] += 1


@njit
def count_low(base: Any, parent: Any, upper: Any, counts: Any, work: Any) -> None:
    """Count the lower 16 bits of those |delta| patterns whose upper bits are `upper`."""
    for a in range(0, len(parent), CHUNK):
        bits = patterns_of(base[a : a + CHUNK], parent[a : a + CHUNK], work)
        for i in range(len(bits)):
            if bits[i] >> np.uint32(16) == upper:
                counts[bits[i] & np.uint32(0xFFFF)] += 1


@njit(inline="always")
def patterns_of(base: Any, parent: Any, work: Any) -> Any:
    """uint32 patterns of |parent - base|, in the memory of `work`."""
    x = work[: len(parent)]
    for i in range(len(parent)):
        x[i] = abs(wide(parent[i]) - wide(base[i]))
    return x.view(np.uint32)


@njit
def sample(base: Any, parent: Any, stride: int, patterns: Any) -> int:
    """patterns: of |delta|, a group in every `stride` groups; how many these are.

    A group is a line of the cache at least. The stride is odd: groups of all columns of a matrix are seen.
    """
    taken = 0
    for a in range(0, len(parent), GROUP * (stride | 1)):
        x, y = base[a : a + GROUP], parent[a : a + GROUP]
        target = patterns[taken : taken + len(y)]
        for i in range(len(y)):
            target[i] = pattern(abs(wide(y[i]) - wide(x[i])))
        taken += len(y)
    return taken


@njit
def tally(base: Any, parent: Any, values: Any, counts: Any) -> None:
    """counts: how many |delta| patterns lie above the last value, from the first to it, and at each of them.

    values: int32, ascending, at most four: all are counted in one pass.
    """
    first, last = values[0], values[len(values) - 1]
    second = values[1] if len(values) > 1 else NO_PATTERN
    third = values[2] if len(values) > 2 else NO_PATTERN
    fourth = values[3] if len(values) > 3 else NO_PATTERN
    counts[:] = 0
    for a in range(0, len(parent), CHUNK):
        x, y = base[a : a + CHUNK], parent[a : a + CHUNK]
        above, inside = np.int32(0), np.int32(0)
        ones, twos, threes, fours = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
        for i in range(len(y)):
            bits = np.int32(pattern(abs(wide(y[i]) - wide(x[i]))))
            above = np.int32(above + np.int32(bits > last))
            inside = np.int32(inside + np.int32(bits >= first))
            ones = np.int32(ones + np.int32(bits == first))
            twos = np.int32(twos + np.int32(bits == second))
            threes = np.int32(threes + np.int32(bits == third))
            fours = np.int32(fours + np.int32(bits == fourth))
        counts[0] += above
        counts[1] += inside - above
        counts[2] += ones
        if len(values) > 1:
            counts[3] += twos
        if len(values) > 2:
            counts[4] += threes
        if len(values) > 3:
            counts[5] += fours


@njit
def collect(
    base: Any, parent: Any, bottom: Any, top: Any, places: Any, patterns: Any, counts: Any, work: Any
) -> None:
    """counts: how many |delta| patterns are `top` or more, and how many lie from `bottom` to below `top`.

    The places and patterns of the latter are written down, in order. Patterns are uint32.
    """
    width, most = np.uint32(top - bottom), np.int32(np.int64(top) - 1)
    above = np.int64(0)
    inside = np.int64(0)
    for a in range(0, len(parent), CHUNK):
        x, y = base[a : a + CHUNK], parent[a : a + CHUNK]
        bits = work.view(np.uint32)[: len(y)]
        greater = np.int32(0)
        for i in range(len(y)):
            bits[i] = pattern(abs(wide(y[i]) - wide(x[i])))
            greater = np.int32(greater + np.int32(np.int32(bits[i]) > most))
        above += greater
        for g in range(0, len(bits), GROUP):
            group = bits[g : g + GROUP]
            some = np.int32(0)
            for i in range(len(group)):
                some = np.int32(some + np.int32(np.uint32(group[i] - bottom) < width))
            if some:
                for i in range(len(group)):
                    if np.uint32(group[i] - bottom) < width:
                        places[inside] = a + g + i
                        patterns[inside] = group[i]
                        inside += 1
    counts[0] = above
    counts[1] = inside
