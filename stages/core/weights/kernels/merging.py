"""The block functions of the methods, coded a second time: same operations, same order, same rounding.

raw: [inputs, n], the base first if `delta`. out: [n]. keys: one mask key per parent and `least`, the smallest
draw that is kept, per parent; without masks both are empty. work: float32 and words: uint64, for chunks.
Each returns whether a result is not finite, in which case `out` means nothing.
"""

from typing import Any

import numpy as np
from numba import njit

from stages.core.weights.kernels.elements import CHUNK, agree, load, mask, narrow, sign, trim, vote_for, widen

ZERO, UNIT = np.float32(0), np.float32(1)


@njit
def combine(
    raw: Any, delta: bool, out: Any, start: int, keys: Any, least: Any, shares: Any, factor: Any,
    work: Any, words: Any,
) -> bool:  # fmt: skip
    """Sum of shares[i] * parent i (linear.weighted_sum); of deltas, times factor, on top of the base."""
    first = 1 if delta else 0
    wrong = False
    for a in range(0, len(out), CHUNK):
        b = min(a + CHUNK, len(out))
        base, term, total = work[: (b - a) * first], work[CHUNK:][: b - a], work[2 * CHUNK :][: b - a]
        if delta:
            widen(raw[0, a:b], base)
        for p in range(raw.shape[0] - first):
            load(raw[first + p, a:b], base, term)
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
    raw: Any, out: Any, start: int, keys: Any, least: Any, factors: Any, bounds: Any, cuts: Any,
    votes_by: Any, signs: bool, counts_by: Any, divided: bool, weights: Any, scale: Any, factor: Any,
    work: Any, words: Any,
) -> bool:  # fmt: skip
    """The base plus the TIES consensus of deltas that are masked, rescaled or trimmed (ties.consensus).

    factors: per parent, or empty. bounds: [2 * parents], uint32 patterns of the greatest magnitudes that are
    trimmed, from the cut on and before it; empty for no trimming. cuts: flat indices. votes_by: weights of
    the votes, of signs if `signs`. counts_by: what an agreeing entry adds to the divisor, if `divided`.
    factor: of the layer.
    """
    parents = raw.shape[0] - 1
    wrong = False
    for a in range(0, len(out), CHUNK):
        b = min(a + CHUNK, len(out))
        base, total, vote = work[: b - a], work[CHUNK:][: b - a], work[2 * CHUNK :][: b - a]
        divisor, deltas = work[3 * CHUNK :][: b - a], work[4 * CHUNK :]
        widen(raw[0, a:b], base)
        for p in range(parents):
            x = deltas[p * CHUNK :][: b - a]
            load(raw[p + 1, a:b], base, x)
            if len(keys):
                mask(x, keys[p], start + a, least[p], words)
            if len(factors):
                times = factors[p]
                for i in range(len(x)):
                    x[i] = x[i] * times
            if len(cuts):
                cut = min(max(cuts[p] - start - a, 0), b - a)
                if cut:
                    trim(x[:cut], bounds[2 * p + 1])
                trim(x[cut:], bounds[2 * p])
            vote_for(x, vote, votes_by[p], signs, p == 0)
        for p in range(parents):
            x = deltas[p * CHUNK :][: b - a]
            agree(x, vote, total, divisor, weights[p], counts_by[p], p == 0)
        for i in range(len(total)):
            direction = -UNIT if vote[i] < ZERO else UNIT
            mean = total[i] / (divisor[i] + (UNIT - sign(divisor[i]))) if divided else total[i]
            total[i] = base[i] + mean * direction * scale * factor
        wrong |= narrow(total, out[a:b])
    return wrong
