"""The block functions of the methods, coded a second time: same operations, same order, same rounding.

raw: [inputs, n], uint16 (bfloat16) or float32, the base first if `delta`. out: [n], either type.
keys: one mask key per parent; least: smallest draw that is kept; without masks, keys is empty.
Each returns whether a result is not finite, in which case `out` means nothing.
"""

from typing import Any

import numpy as np

from stages.core.weights.kernels.compiled import kernel
from stages.core.weights.kernels.elements import CHUNK, agree, load, mask, narrow, sign, trim, vote_for, widen

ZERO, UNIT = np.float32(0), np.float32(1)


@kernel
def combine(raw: Any, delta: bool, out: Any, start: int, keys: Any, least: Any, shares: Any) -> bool:
    """Sum of shares[i] * parent i; of deltas, on top of the base, if `delta` (linear.weighted_sum)."""
    first = 1 if delta else 0
    bases, terms, totals = (
        np.empty(CHUNK, np.float32),
        np.empty(CHUNK, np.float32),
        np.empty(CHUNK, np.float32),
    )
    words = np.empty(CHUNK // 4, np.uint64)
    wrong = False
    for a in range(0, out.shape[0], CHUNK):
        b = min(a + CHUNK, out.shape[0])
        base, term, total = bases[: (b - a) * first], terms[: b - a], totals[: b - a]
        if delta:
            widen(raw[0, a:b], base)
        for p in range(raw.shape[0] - first):
            load(raw[first + p, a:b], base, term)
            if len(keys):
                mask(term, keys[p], start + a, least, words)
            share = shares[p]
            if p == 0:
                for i in range(len(total)):
                    total[i] = term[i] * share
            else:
                for i in range(len(total)):
                    total[i] = total[i] + term[i] * share
        if delta:
            for i in range(len(total)):
                total[i] = base[i] + total[i]
        wrong |= narrow(total, out[a:b])
    return wrong


@kernel
def consensus(
    raw: Any, out: Any, start: int, keys: Any, least: Any, factors: Any, bounds: Any, cuts: Any,
    votes_by: Any, counts_by: Any, signs: bool, weights: Any, scale: Any,
) -> bool:  # fmt: skip
    """The base plus the TIES consensus of deltas that are masked, rescaled or trimmed (ties.consensus).

    factors: per parent, or empty. bounds: [parents, 2], greatest magnitudes that are trimmed, from the cut on
    and before it; empty for no trimming. cuts: flat indices. votes_by: weights of the votes, of signs if
    `signs`. counts_by: what an agreeing entry adds to the divisor.
    """
    parents = raw.shape[0] - 1
    bases, totals = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    deltas = np.empty((parents, CHUNK), np.float32)
    votes, divisors = np.empty(CHUNK, np.float32), np.empty(CHUNK, np.float32)
    words = np.empty(CHUNK // 4, np.uint64)
    wrong = False
    for a in range(0, out.shape[0], CHUNK):
        b = min(a + CHUNK, out.shape[0])
        base, total, vote, divisor = bases[: b - a], totals[: b - a], votes[: b - a], divisors[: b - a]
        widen(raw[0, a:b], base)
        for p in range(parents):
            x = deltas[p, : b - a]
            load(raw[p + 1, a:b], base, x)
            if len(keys):
                mask(x, keys[p], start + a, least, words)
            if len(factors):
                factor = factors[p]
                for i in range(len(x)):
                    x[i] = x[i] * factor
            if len(cuts):
                cut = min(max(cuts[p] - start - a, 0), b - a)
                trim(x[:cut], bounds[p, 1])
                trim(x[cut:], bounds[p, 0])
            vote_for(x, vote, votes_by[p], signs, p == 0)
        for p in range(parents):
            agree(deltas[p, : b - a], vote, total, divisor, weights[p], counts_by[p], p == 0)
        for i in range(len(total)):
            direction = -UNIT if vote[i] < ZERO else UNIT
            mean = total[i] / (divisor[i] + (UNIT - sign(divisor[i])))
            total[i] = base[i] + mean * direction * scale
        wrong |= narrow(total, out[a:b])
    return wrong
