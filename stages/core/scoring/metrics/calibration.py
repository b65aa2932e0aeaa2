"""Whether a stated probability is met: Brier score, NLL, and adaptive calibration error with its bins.

Inputs are what form `choice` measures per item: `brier`, `probability` of the right answer, `confidence` in
the choice made. Sums run in the order of the items; sorting is stable: equal inputs give equal bits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.scoring.intervals import Clusters, Floats, Interval

BINS = 10  # at most; the usual number (Naeini et al. 2015)
PER_BIN = 12  # items in a bin at least: the share right then has a standard error under .15
SMALLEST = 5e-5  # half of the last digit that evidence keeps: a share of 0.0000 is no proof of zero


def mean_brier(brier: Sequence[float]) -> float:
    """Mean of Σ(p − y)² over items, 0 (sure and right) to 2 (sure and wrong). Source: Brier 1950."""
    return math.fsum(brier) / len(brier)


def mean_nll(probability: Sequence[float]) -> float:
    """Mean −ln of the right answer's share among the choices, nats; shares under 5e-5 count as 5e-5."""
    return -math.fsum(math.log(max(share, SMALLEST)) for share in probability) / len(probability)


@dataclass(frozen=True)
class Bin:
    """Items of neighbouring confidence. confidence, accuracy: their means; the gap is the miscalibration."""

    items: int
    confidence: float
    accuracy: float


def bins_of(confidence: Sequence[float], bins: int | None = None) -> np.ndarray:
    """The bin of each item, 0 upwards: as many items in each as can be, and equal confidences together.

    bins: how many at most; None is BINS, or fewer so that each holds PER_BIN. Shape [items], int64.
    """
    values = np.asarray(confidence, dtype=np.float64)
    wanted = bins if bins is not None else max(1, min(BINS, len(values) // PER_BIN))
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    place = ranks * wanted // len(values)
    _, same = np.unique(values, return_inverse=True)
    lowest = np.full(int(same.max()) + 1, wanted)
    np.minimum.at(lowest, same, place)
    return np.unique(lowest[same], return_inverse=True)[1].astype(np.int64)


def reliability(confidence: Sequence[float], correct: Sequence[bool], bins: int | None = None) -> list[Bin]:
    """The reliability diagram with bins of equal mass, by rising confidence."""
    place = bins_of(confidence, bins)
    sizes = np.bincount(place)
    stated = np.bincount(place, weights=np.asarray(confidence, dtype=np.float64)) / sizes
    met = np.bincount(place, weights=np.asarray(correct, dtype=np.float64)) / sizes
    return [Bin(int(n), float(c), float(a)) for n, c, a in zip(sizes, stated, met, strict=True)]


def adaptive_ece(confidence: Sequence[float], correct: Sequence[bool], bins: int | None = None) -> float:
    """Σ over bins of (items / all) · |accuracy − confidence|, 0 to 1.

    Bins of equal mass, so that none is nearly empty. It is above zero for a perfect model too, by the noise
    of the bins: read it with `ece_interval`. Source: Nguyen and O'Connor 2015 (1508.05154), Nixon et al. 2019
    (1904.01685).
    """
    found = reliability(confidence, correct, bins)
    return math.fsum(one.items * abs(one.accuracy - one.confidence) for one in found) / len(confidence)


def ece_interval(
    confidence: Sequence[float],
    correct: Sequence[bool],
    clusters: Clusters,
    level: float,
    bins: int | None = None,
) -> Interval:
    """Bootstrap interval of the calibration error behind `adaptive_ece`, within 0 and 1. level: 0 to 1.

    The bins of the sample stay. A resample adds as much noise to the absolute gaps as the sample did, so the
    plain percentiles lie too high by that; they are mirrored at the estimate (the basic bootstrap), and the
    interval of a well calibrated model reaches down to 0. Source: Davison and Hinkley 1997, 5.2.
    """
    place = bins_of(confidence, bins)
    gap = np.asarray(correct, dtype=np.float64) - np.asarray(confidence, dtype=np.float64)
    samples = np.zeros(clusters.counts.shape[0])
    for one in range(int(place.max()) + 1):
        samples += np.abs(clusters.means(np.where(place == one, gap, 0.0)))
    estimate = adaptive_ece(confidence, correct, bins)
    return mirrored(estimate, samples, level)


def mirrored(estimate: float, samples: Floats, level: float) -> Interval:
    """The basic bootstrap interval 2·estimate − quantiles, cut to 0..1."""
    tail = (1 - level) / 2
    low, high = np.quantile(samples, (tail, 1 - tail))
    return Interval(
        float(min(1.0, max(0.0, 2 * estimate - high))), float(min(1.0, max(0.0, 2 * estimate - low)))
    )
