"""Estimates of a part of a task: some of its items, or a measure that not every item has.

All come from the one resample that the whole study shares, so that subjects stay comparable.
"""

from collections.abc import Sequence

import numpy as np

from stages.core.scoring.intervals import (
    Clusters,
    Floats,
    clopper_pearson,
    percentile_interval,
)
from stages.core.scoring.paired import detectable_loss
from stages.pareto.measure import Number

Values = Sequence[float | bool | None]


def samples(values: Values, clusters: Clusters) -> Floats:
    """Mean of the values that are there, per resample; NaN in a resample that holds none. Shape [draws]."""
    there = [float(value is not None) for value in values]
    sums = clusters.means([0.0 if value is None else float(value) for value in values])
    shares = clusters.means(there)
    return np.divide(sums, shares, out=np.full_like(sums, np.nan), where=shares > 0)


def estimate(values: Values, clusters: Clusters, confidence: float) -> Number | None:
    """Mean of the values that are there, one per item, None elsewhere; None if there are none.

    Values that are all 0 or 1 also get the exact bounds of a share, which few items cannot fool.
    """
    there = [float(value) for value in values if value is not None]
    if not there:
        return None
    interval = percentile_interval(samples(values, clusters), confidence)
    if all(value in (0.0, 1.0) for value in there):
        interval = interval.union(clopper_pearson(int(sum(there)), len(there), confidence))
    return Number(float(np.mean(there)), interval.low, interval.high)


def detectable(differences: Floats, clusters: int, confidence: float) -> float:
    """Smallest true loss that `clusters` clusters would have shown four times in five.

    differences: of subject and reference per resample, [draws]; undefined ones are left out.
    """
    return detectable_loss(float(np.nanstd(differences)), clusters, confidence)


def only(values: Values, chosen: Sequence[bool]) -> list[float | bool | None]:
    """The values of the chosen items, None elsewhere."""
    return [value if keep else None for value, keep in zip(values, chosen, strict=True)]
