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
    add,
    agree,
    draw,
    elected,
    greatest,
    narrow,
    refine,
    refine_masked,
    row,
    sign,
    wide,
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
        base, total, draws = row(rows, 0, a, b)[: (b - a) * first], work[: b - a], words.view(np.uint16)[:0]
        for p in range(inputs - first):
            if len(keys):
                draws = draw(keys[p], start + a, b - a, words)
            least_kept = least[p] if len(keys) else np.uint16(0)
            add(row(rows, first + p, a, b), base, draws, least_kept, shares[p], total, p == 0)
        if delta:
            for i in range(len(total)):
                total[i] = wide(base[i]) + total[i] * factor
        wrong |= narrow(total, out[a:b])
    return wrong


@njit
def consensus(
    rows: Any, inputs: int, out: Any, start: int, keys: Any, least: Any, factors: Any, bounds: Any, cuts: Any,
    votes_by: Any, signs: bool, counts_by: Any, divided: bool, weights: Any, scale: Any, factor: Any,
    work: Any, words: Any,
) -> bool:  # fmt: skip
    """The base plus the TIES consensus of deltas that are rescaled and masked or trimmed (ties.consensus).

    No method does both: where there are masks, nothing is trimmed. factors: per parent. bounds: [2 *
    parents], int32 patterns of the greatest magnitudes that are trimmed, from the cut on and before it;
    empty for no trimming. cuts: flat indices. votes_by: weights of the votes, of signs if `signs`.
    counts_by: what an agreeing entry adds to the divisor, if `divided`. factor: of the layer. An input that
    is not finite may be outvoted: it is looked for.
    """
    wrong = False
    for a in range(0, len(out), CHUNK):
        b = min(a + CHUNK, len(out))
        base, deltas = row(rows, 0, a, b), work[3 * CHUNK :]
        total, vote, divisor = work[: b - a], work[CHUNK:][: b - a], work[2 * CHUNK :][: b - a]
        for p in range(inputs):
            wrong |= greatest(row(rows, p, a, b)) >= FINITE
        for p in range(inputs - 1):
            parent, x = row(rows, p + 1, a, b), deltas[p * CHUNK :][: b - a]
            times, weight, first = factors[p], votes_by[p], p == 0
            if len(keys):
                draws = draw(keys[p], start + a, b - a, words)
                refine_masked(parent, base, draws, least[p], x, times, vote, weight, signs, first)
                continue
            before, after, cut = UNTRIMMED, UNTRIMMED, 0
            if len(cuts):
                after, before = bounds[2 * p], bounds[2 * p + 1]
                cut = min(max(cuts[p] - start - a, 0), b - a)
            if cut:
                refine(parent[:cut], base[:cut], x[:cut], times, before, vote[:cut], weight, signs, first)
            refine(parent[cut:], base[cut:], x[cut:], times, after, vote[cut:], weight, signs, first)
        for p in range(inputs - 1):
            x = deltas[p * CHUNK :][: b - a]
            agree(x, vote, total, divisor, weights[p], counts_by[p], p == 0)
        if divided:
            for i in range(len(total)):
                mean = total[i] / (divisor[i] + (UNIT - sign(divisor[i])))
                total[i] = wide(base[i]) + mean * elected(vote[i]) * scale * factor
        else:
            for i in range(len(total)):
                total[i] = wide(base[i]) + total[i] * elected(vote[i]) * scale * factor
        wrong |= narrow(total, out[a:b])
    return wrong
