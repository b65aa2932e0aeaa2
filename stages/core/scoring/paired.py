"""One subject against another on the same items: differences, tests of a loss, proofs that little was lost.

Differences are the subject's minus the other's, turned so that below zero is a loss, whatever is measured.
Answers that are right or wrong are counted, exactly; what has a size (nats, Brier points) is tested by
Student's t on the clusters. Both intervals are united with the paired bootstrap's, which sees clusters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, betaincinv, ndtri, stdtr, stdtrit

from stages.core.scoring.intervals import Clusters, Floats, Interval, clopper_pearson, percentile_interval

POWER = 0.8  # chance of finding a difference of the size called detectable; the usual level in trial design
HALVINGS = 50  # of the logarithm of a p-value: fifteen digits
RATE_HALVINGS = 20  # of a loss rate: six digits
SMALLEST_P = 1e-300  # of a halving: under it, float64 has no powers left


@dataclass(frozen=True)
class Paired:
    """What two subjects' answers to one task show.

    gains, losses: clusters on which the subject, or the other, did better; clusters: of all. interval: of the
    difference. loss_p: one-sided p that so much was lost by chance. standard_error: of the difference, by the
    bootstrap. counted: answers are right or wrong, so that counts are exact.
    """

    gains: int
    losses: int
    clusters: int
    difference: float
    interval: Interval
    loss_p: float
    standard_error: float
    counted: bool

    def detectable(self, level: float) -> float:
        """Smallest true loss that a one-sided test at `level` would show with probability POWER.

        Of counted answers by the power of the exact test, with gains as frequent as here; 1, all is lost,
        where even that would not show. Of what has a size by the normal formula.
        """
        if self.counted:
            return detectable_rate(self.gains / self.clusters, self.clusters, level)
        return _normal_reach(level) * self.standard_error

    def kept_p(self, margin: float) -> float:
        """One-sided p of "more than `margin` was lost": at or under a level, the loss was shown to be
        smaller.

        Student's, with the bootstrap's standard error; where answers are counted also the level at which the
        exact interval's lower end is −margin, and the larger of the two.
        """
        p = _student_p(-(self.difference + margin), self.standard_error, self.clusters)
        return max(p, _exact_kept_p(self.gains, self.losses, self.clusters, margin)) if self.counted else p


def paired_difference(
    mine: Sequence[bool], theirs: Sequence[bool], clusters: Clusters, confidence: float
) -> Paired:
    """Compare two subjects on one task whose answers are right or wrong.

    The interval unites the paired bootstrap's with an exact one (Clopper-Pearson on gains and on losses, each
    at half the error), so that it keeps its level with few items or none that differ. Twins that are lost
    together count as one loss: a coin is flipped per cluster.
    """
    change = np.asarray(mine, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    samples = clusters.means(change)
    gains, losses = _moved(change, clusters)
    each = 1 - (1 - confidence) / 2
    up = clopper_pearson(gains, clusters.number, each)
    down = clopper_pearson(losses, clusters.number, each)
    exact = Interval(up.low - down.high, up.high - down.low)
    return Paired(
        gains=gains,
        losses=losses,
        clusters=clusters.number,
        difference=float(change.mean()),
        interval=percentile_interval(samples, confidence).union(exact),
        loss_p=mcnemar_loss_p(gains, losses),
        standard_error=float(np.nanstd(samples)),
        counted=True,
    )


def paired_mean(
    mine: Sequence[float],
    theirs: Sequence[float],
    clusters: Clusters,
    confidence: float,
    *,
    weights: Sequence[float] | None = None,
) -> Paired:
    """Compare two subjects on what has a size and is better when small: nats, Brier points.

    weights: of each item (tokens of a text), so that means are sums over items over sums of weights.
    """
    heavy = np.ones(len(mine)) if weights is None else np.asarray(weights, dtype=np.float64)
    change = np.asarray(theirs, dtype=np.float64) - np.asarray(mine, dtype=np.float64)
    samples = clusters.means(change) / clusters.means(heavy)
    difference = math.fsum(change) / math.fsum(heavy)
    return sized(difference, samples, clusters.number, confidence, moved=_moved(change, clusters))


def sized(
    difference: float, samples: Floats, clusters: int, confidence: float, *, moved: tuple[int, int] = (0, 0)
) -> Paired:
    """A difference with a size, from its bootstrap `samples`; moved: clusters better and worse, where
    counted.

    The interval unites the percentiles with Student's (clusters − 1 degrees of freedom; the bootstrap's
    standard error, which is short by √((n − 1) / n), made up for it).
    """
    error = float(np.nanstd(samples)) * math.sqrt(clusters / (clusters - 1))
    reach = float(stdtrit(clusters - 1, (1 + confidence) / 2)) * error
    student = Interval(difference - reach, difference + reach)
    return Paired(
        gains=moved[0],
        losses=moved[1],
        clusters=clusters,
        difference=difference,
        interval=percentile_interval(samples, confidence).union(student),
        loss_p=_student_p(difference, error, clusters),
        standard_error=error,
        counted=False,
    )


def mcnemar_loss_p(gains: int, losses: int) -> float:
    """One-sided exact p: chance of at least `losses` losses among gains + losses fair coin flips.

    1 when nothing is discordant. Source: McNemar 1947, Psychometrika 12(2), in its exact binomial form.
    """
    return float(bdtrc(losses - 1, gains + losses, 0.5))


def fewest_losses(level: float) -> int:
    """Losses that the exact test needs at least, where nothing is gained: ⌈log2(1 / level)⌉."""
    return math.ceil(-math.log2(level))


def detectable_loss(standard_error: float, clusters: int, confidence: float) -> float:
    """Smallest true difference that an interval would show to be none with probability POWER, 0 to 1.

    For what is told by intervals, not by the exact test: (z of the one-sided level + z of the power) ×
    standard error, and never under what is detectable where nothing differed.
    """
    level = (1 - confidence) / 2
    return min(1.0, max(_normal_reach(level) * standard_error, detectable_rate(0.0, clusters, level)))


@cache
def detectable_rate(gained: float, clusters: int, level: float) -> float:
    """Excess of losses over gains, per cluster, that McNemar's exact test at `level` shows with probability
    POWER.

    gained: share of clusters that get better by chance; as many get worse, and the excess besides. Losses and
    gains are trinomial. 1 where the test never has that power.
    """
    number, fewest = np.arange(clusters + 1), _fewest_among(clusters, level)

    def power(excess: float) -> float:
        lost = gained + excess
        some = lost + gained
        chance = bdtrc(number - 1, clusters, some) - bdtrc(number, clusters, some)
        enough = np.where(fewest <= number, bdtrc(fewest - 1, number, lost / some), 0.0)
        return float((chance * enough).sum())

    low, high = 0.0, 1.0 - 2 * gained
    if high <= 0 or power(high) < POWER:
        return 1.0
    for _ in range(RATE_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


@cache
def _fewest_among(clusters: int, level: float) -> NDArray[np.int64]:
    """Losses that the exact test needs among 0, 1 … `clusters` that differ; more than those if none do."""
    differ = np.arange(clusters + 1)
    tails = bdtrc(
        differ[:, None] - 1, differ, 0.5
    )  # chance of at least so many losses (rows) of each (columns)
    return np.asarray((tails > level).sum(axis=0), dtype=np.int64)


def _normal_reach(level: float) -> float:
    """z of the level + z of the power."""
    return float(ndtri(1 - level) + ndtri(POWER))


def is_non_inferior(interval: Interval, margin: float) -> bool:
    """Whether an interval of (subject − reference) shows that no more than `margin` was lost."""
    return interval.low >= -margin


def clusters_to_show(margin: float, confidence: float) -> int:
    """Fewest clusters with which a subject that loses nothing is shown to lose at most `margin` (0 to 1).

    The closed form of `paired_difference` where nothing differs: ln((1 − confidence) / 4) / ln(1 − margin).
    """
    return math.ceil(math.log((1 - confidence) / 4) / math.log(1 - margin))


def _moved(change: Floats, clusters: Clusters) -> tuple[int, int]:
    net = np.bincount(clusters.item_cluster, weights=change)
    return int((net > 0).sum()), int((net < 0).sum())


def _student_p(difference: float, error: float, clusters: int) -> float:
    """One-sided p of a difference below zero; never under that of as many fair coins that all fell alike."""
    if error == 0:
        return 0.5**clusters if difference < 0 else 1.0
    return max(0.5**clusters, float(stdtr(clusters - 1, difference / error)))


def _exact_kept_p(gains: int, losses: int, clusters: int, margin: float) -> float:
    """The one-sided level at which the exact interval's lower end is −margin; 1 where it never is."""

    def low(level: float) -> float:
        up = float(betaincinv(gains, clusters - gains + 1, level / 2)) if gains else 0.0
        down = float(betaincinv(losses + 1, clusters - losses, 1 - level / 2)) if losses < clusters else 1.0
        return up - down

    if low(1.0) < -margin:
        return 1.0
    small, large = math.log(SMALLEST_P), 0.0
    for _ in range(HALVINGS):
        middle = (small + large) / 2
        small, large = (small, middle) if low(math.exp(middle)) >= -margin else (middle, large)
    return math.exp(large)
