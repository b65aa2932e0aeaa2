"""Kernels as C calls them: pointers and sizes become arrays. Arguments as catalogue.py lists them.

rows: pointers to `inputs` rows of n elements. Work areas are as large as fast.py makes them.
"""

from typing import Any

from numba import carray

from stages.core.weights.kernels import measuring, merging
from stages.core.weights.kernels import sha256 as hashing
from stages.core.weights.kernels.elements import CHUNK, FINITE, greatest
from stages.core.weights.kernels.measuring import LEAF

WORDS, LEAF_WORDS = CHUNK // 4, LEAF // 4


def combine(
    rows: Any, inputs: int, n: int, delta: int, out: Any, start: int, keys: Any, masks: int, least: Any,
    shares: Any, factor: Any, work: Any, words: Any,
) -> int:  # fmt: skip
    """1 if a result is not finite, else 0."""
    wrong = merging.combine(
        rows, inputs, delta != 0, carray(out, n), start, carray(keys, masks), carray(least, masks),
        carray(shares, inputs - delta), factor, carray(work, CHUNK), carray(words, WORDS),
    )  # fmt: skip
    return 1 if wrong else 0


def consensus(
    rows: Any, inputs: int, n: int, out: Any, start: int, keys: Any, masks: int, least: Any, factors: Any,
    bounds: Any, cuts: Any, trimmed: int, votes_by: Any, signs: int, counts_by: Any, divided: int,
    weights: Any, scale: Any, factor: Any, work: Any, words: Any,
) -> int:  # fmt: skip
    """1 if an input or a result is not finite, else 0."""
    parents = inputs - 1
    wrong = merging.consensus(
        rows, inputs, carray(out, n), start, carray(keys, masks), carray(least, masks),
        carray(factors, parents), carray(bounds, 2 * trimmed), carray(cuts, trimmed),
        carray(votes_by, parents), signs != 0, carray(counts_by, parents), divided != 0,
        carray(weights, parents), scale, factor, carray(work, (3 + parents) * CHUNK), carray(words, WORDS),
    )  # fmt: skip
    return 1 if wrong else 0


def finite(row: Any, n: int) -> int:
    """1 if every element of the row is finite, else 0."""
    return 1 if greatest(carray(row, n)) < FINITE else 0


def dots(rows: Any, inputs: int, n: int, delta: int, sums: Any, work: Any, scratch: Any) -> int:
    """0; sums: [pairs, leaves]."""
    parents, leaves = inputs - delta, (n + LEAF - 1) // LEAF
    measuring.dots(
        rows, inputs, n, delta != 0, carray(sums, (parents * (parents + 1) // 2, leaves)),
        carray(work, (1 + parents) * LEAF), carray(scratch, LEAF),
    )  # fmt: skip
    return 0


def masked_l1(
    rows: Any, inputs: int, n: int, start: int, keys: Any, least: Any, sums: Any, work: Any, scratch: Any,
    words: Any,
) -> int:  # fmt: skip
    """0; sums: [2 * parents, leaves]."""
    parents, leaves = inputs - 1, (n + LEAF - 1) // LEAF
    measuring.masked_l1(
        rows, inputs, n, start, carray(keys, parents), carray(least, parents),
        carray(sums, (2 * parents, leaves)), carray(work, 2 * LEAF), carray(scratch, LEAF),
        carray(words, LEAF_WORDS),
    )  # fmt: skip
    return 0


def sample(base: Any, parent: Any, n: int, stride: int, patterns: Any) -> int:
    """How many were taken; patterns: [n / stride + 2 * GROUP]."""
    area = carray(patterns, n // stride + 2 * measuring.GROUP)
    taken: int = measuring.sample(carray(base, n), carray(parent, n), stride, area)
    return taken


def tally(base: Any, parent: Any, n: int, values: Any, many: int, counts: Any) -> int:
    """0; values: [many]; counts: [many + 2]."""
    measuring.tally(carray(base, n), carray(parent, n), carray(values, many), carray(counts, many + 2))
    return 0


def count_high(base: Any, parent: Any, n: int, counts: Any, work: Any) -> int:
    """0; counts: [2^15]."""
    measuring.count_high(carray(base, n), carray(parent, n), carray(counts, 1 << 15), carray(work, CHUNK))
    return 0


def count_low(base: Any, parent: Any, n: int, upper: Any, counts: Any, work: Any) -> int:
    """0; counts: [2^16]."""
    area = carray(work, CHUNK)
    measuring.count_low(carray(base, n), carray(parent, n), upper, carray(counts, 1 << 16), area)
    return 0


def collect(
    base: Any, parent: Any, n: int, bottom: Any, top: Any, places: Any, patterns: Any, counts: Any, work: Any
) -> int:
    """0; places and patterns: [n]; counts: [2]."""
    measuring.collect(
        carray(base, n), carray(parent, n), bottom, top, carray(places, n), carray(patterns, n),
        carray(counts, 2), carray(work, CHUNK),
    )  # fmt: skip
    return 0


def sha256(state: Any, data: Any, other_state: Any, other: Any, blocks: int) -> int:
    """0; states: [8]; data: [64 * blocks]."""
    hashing.pair(state, data, other_state, other, blocks)
    return 0


TABLE = {
    made.__name__: made
    for made in (
        combine,
        consensus,
        finite,
        dots,
        masked_l1,
        sample,
        tally,
        collect,
        count_high,
        count_low,
        sha256,
    )
}
