"""Who is on the front, and how surely: dominance over the resamples of one shared bootstrap.

Subject i is dominated by j if j is at least as accurate on every niche, costs no more passes, keeps no more
models in memory, and is better in one of these. So a merge is never dominated by an ensemble or router that
costs more, and both can be on the front.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.core.scoring.intervals import Floats

Bools = NDArray[np.bool_]


def dominates(
    one: Floats, other: Floats, passes: tuple[float, float], models: tuple[int, int] = (1, 1)
) -> Bools:
    """Per resample, whether `one` dominates `other`. one, other: [draws, niches]; passes, models: of each."""
    costs = (passes, models)
    if any(mine > theirs for mine, theirs in costs):
        return np.zeros(one.shape[0], dtype=np.bool_)
    cheaper = any(mine < theirs for mine, theirs in costs)
    better = (one > other).any(axis=1)
    return np.asarray((one >= other).all(axis=1) & (better | cheaper), dtype=np.bool_)


def non_dominated_share(
    samples: Sequence[Floats], passes: Sequence[float], models: Sequence[int] | None = None
) -> list[float]:
    """Per subject, the share of resamples in which none of the others dominates it; in the order given.

    models: in memory, of each; one where it is not said.
    """
    models = models or [1] * len(samples)
    shares = []
    for place, mine in enumerate(samples):
        dominated = np.zeros(mine.shape[0], dtype=np.bool_)
        for other, theirs in enumerate(samples):
            if other != place:
                costs = (passes[other], passes[place]), (models[other], models[place])
                dominated |= dominates(theirs, mine, *costs)
        shares.append(float(1 - dominated.mean()))
    return shares


def dominates_all_share(mine: Floats, others: Sequence[Floats]) -> float:
    """Share of resamples in which `mine` dominates every one of `others`, all at equal cost."""
    wins = np.ones(mine.shape[0], dtype=np.bool_)
    for theirs in others:
        wins &= dominates(mine, theirs, (1, 1))
    return float(wins.mean())


def staircase(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Ids of the points that no other dominates, by rising x: drawn as a line that steps down, then right.

    Both axes are maximised. Of equal points the smallest id stands for all.
    """
    line: list[str] = []
    highest = -np.inf
    for name in sorted(points, key=lambda name: (-points[name][0], -points[name][1], name)):
        if points[name][1] > highest:
            line.append(name)
            highest = points[name][1]
    return line[::-1]
