"""Whether a stated probability is met: Brier score, NLL, and adaptive calibration error with its bins.

Inputs are what form `choice` measures per item: `brier`, `probability` of the right answer, `confidence` in
the choice made. Sums run in the order of the items; sorting is stable: equal inputs give equal bits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.core.scoring.intervals import Clusters, Interval

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


def bins_of(confidence: Sequence[float]) -> NDArray[np.int64]:
    """The bin of each item, 0 upwards: as many items in each as can be, and equal confidences together.

    At most BINS, and fewer where they would not hold PER_BIN items each. Shape [items].
    """
    values = np.asarray(confidence, dtype=np.float64)
    wanted = max(1, min(BINS, len(values) // PER_BIN))
    _, same, sizes = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - (sizes + 1) / 2  # mean rank, from 0, of the items of one confidence
    place = np.floor(middle * wanted / len(values)).astype(np.int64)[same]
    return np.unique(place, return_inverse=True)[1].astype(np.int64)


def reliability(confidence: Sequence[float], correct: Sequence[bool]) -> list[Bin]:
    """The reliability diagram with bins of equal mass, by rising confidence."""
    place = bins_of(confidence)
    sizes = np.bincount(place)
    stated = np.bincount(place, weights=np.asarray(confidence, dtype=np.float64)) / sizes
    met = np.bincount(place, weights=np.asarray(correct, dtype=np.float64)) / sizes
    return [Bin(int(n), float(c), float(a)) for n, c, a in zip(sizes, stated, met, strict=True)]


def adaptive_ece(confidence: Sequence[float], correct: Sequence[bool]) -> float:
    """Σ over bins of (items / all) · |accuracy − confidence|, 0 to 1.

    Bins of equal mass, so that none is nearly empty. It is above zero for a perfect model too, by the noise
    of the bins: read it with `ece_interval`. Source: Nguyen and O'Connor 2015 (1508.05154), Nixon et al. 2019
    (1904.01685).
    """
    found = reliability(confidence, correct)
    return math.fsum(one.items * abs(one.accuracy - one.confidence) for one in found) / len(confidence)


def ece_interval(
    confidence: Sequence[float], correct: Sequence[bool], clusters: Clusters, level: float
) -> Interval:
    """Interval of the calibration error behind `adaptive_ece`, within 0 and 1. level: 0 to 1.

    Absolute gaps only grow by noise, so percentiles of the resampled error lie too high and miss the truth
    nearly always for a good model. Here the bins of the sample stay and the bootstrap tells their noise: the
    truth is above the estimate less the whole noise Σ|e| (triangle inequality), and below the estimate plus
    the noise of the signed sum, since |accuracy − confidence| never falls short of itself with the true sign.
    """
    place = bins_of(confidence)
    gap = np.asarray(correct, dtype=np.float64) - np.asarray(confidence, dtype=np.float64)
    whole, signed = np.zeros((2, clusters.counts.shape[0]))
    for one in range(int(place.max()) + 1):
        mine = np.where(place == one, gap, 0.0)
        noise = clusters.means(mine) - mine.mean()
        whole += np.abs(noise)
        signed += np.sign(mine.mean()) * noise
    estimate, tail = adaptive_ece(confidence, correct), (1 - level) / 2
    low, high = estimate - np.quantile(whole, 1 - tail), estimate - np.quantile(signed, tail)
    return Interval(max(0.0, float(low)), min(1.0, float(high)))
