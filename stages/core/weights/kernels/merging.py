"""The block functions of the methods, coded a second time: same operations, same order, same rounding.

rows: where the inputs' rows lie (elements.row), the base first if `delta`. out: [n]. keys: one mask key per
parent and `least`, the smallest draw that is kept, per parent; without masks both are empty. work: float32
and words: uint64, for chunks. Each returns whether a result is not finite, in which case `out` means nothing.
"""

from typing import Any

import numpy as np
from numba import njit

from stages.core.weights.kernels.elements import (
    CHUNK,
    FINITE,
    UNIT,
    agree,
    elected,
    greatest,
    load,
    mask,
    narrow,
    refine,
    row,
    sign,
    widen,
)  # fmt: skip

UNTRIMMED = np.int32(-1)  # a bound below every magnitude


@njit
def combine(
    rows: Any, inputs: int, delta: bool, out: Any, start: int, keys: Any, least: Any, shares: Any,
    factor: Any, work: Any, words: Any,
) -> bool:  # fmt: skip
    """Sum of shares[i] * parent i (linear.weighted_sum); of deltas, times factor, on top of the base."""
    first = 1 if delta else 0
    wrong = False
    for a in range(0, len(out), CHUNK):
        b = min(a + CHUNK, len(out))
        base, term, total = work[: (b - a) * first], work[CHUNK:][: b - a], work[2 * CHUNK :][: b - a]
        if delta:
            widen(row(rows, 0, a, b), base)
        for p in range(inputs - first):
            load(row(rows, first + p, a, b), base, term)
            if len(keys):
                mask(term, keys[p], start + a, least[p], words)
            share = shares[p]
            if p == 0:
                for i in range(len(total)):
                    total[i] = term[i] * share
            else:
                for i in range(len(total)):
                    total[i] = total[i] + term[i] * share
        if delta:
            for i in range(len(total)):
                total[i] = base[i] + total[i] * factor
        wrong |= narrow(total, out[a:b])
    return wrong


@njit
def consensus(
    rows: Any, inputs: int, out: Any, start: int, keys: Any, least: Any, factors: Any, bounds: Any, cuts: Any,
    votes_by: Any, signs: bool, counts_by: Any, divided: bool, weights: Any, scale: Any, factor: Any,
    work: Any, words: Any,
) -> bool:  # fmt: skip
    """The base plus the TIES consensus of deltas that are masked, rescaled or trimmed (ties.consensus).

    factors: per parent. bounds: [2 * parents], int32 patterns of the greatest magnitudes that are trimmed,
    from the cut on and before it; empty for no trimming. cuts: flat indices. votes_by: weights of the votes,
    of signs if `signs`. counts_by: what an agreeing entry adds to the divisor, if `divided`. factor: of the
    layer. An input that is not finite may be outvoted: it is looked for.
    """
    wrong = False
    for a in range(0, len(out), CHUNK):
        b = min(a + CHUNK, len(out))
        base, total, vote = work[: b - a], work[CHUNK:][: b - a], work[2 * CHUNK :][: b - a]
        divisor, deltas = work[3 * CHUNK :][: b - a], work[4 * CHUNK :]
        for p in range(inputs):
            wrong |= greatest(row(rows, p, a, b)) >= FINITE
        widen(row(rows, 0, a, b), base)
        for p in range(inputs - 1):
            x = deltas[p * CHUNK :][: b - a]
            load(row(rows, p + 1, a, b), base, x)
            if len(keys):
                mask(x, keys[p], start + a, least[p], words)
            before, after, cut = UNTRIMMED, UNTRIMMED, 0
            if len(cuts):
                after, before = bounds[2 * p], bounds[2 * p + 1]
                cut = min(max(cuts[p] - start - a, 0), b - a)
            if cut:
                refine(x[:cut], factors[p], before, vote[:cut], votes_by[p], signs, p == 0)
            refine(x[cut:], factors[p], after, vote[cut:], votes_by[p], signs, p == 0)
        for p in range(inputs - 1):
            x = deltas[p * CHUNK :][: b - a]
            agree(x, vote, total, divisor, weights[p], counts_by[p], p == 0)
        if divided:
            for i in range(len(total)):
                mean = total[i] / (divisor[i] + (UNIT - sign(divisor[i])))
                total[i] = base[i] + mean * elected(vote[i]) * scale * factor
        else:
            for i in range(len(total)):
                total[i] = base[i] + total[i] * elected(vote[i]) * scale * factor
        wrong |= narrow(total, out[a:b])
    return wrong
