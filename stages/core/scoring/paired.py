"""One subject against another on the same items: differences, tests of a loss, proofs that little was lost.

Differences are the subject's minus the other's, turned so that below zero is a loss, whatever is measured.
Answers that are right or wrong are counted, exactly; what has a size (nats, Brier points) is tested by
Student's t on the clusters. Both intervals are united with the paired bootstrap's, which sees clusters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import betaincinv
from scipy.stats import beta, binom, norm, t

from stages.core.scoring.intervals import Clusters, Floats, Interval, clopper_pearson, percentile_interval

POWER = 0.8  # chance of finding a difference of the size called detectable; the usual level in trial design
HALVINGS = 50  # of the logarithm of a p-value: fifteen digits
SMALLEST_P = 1e-300  # of a halving: under it, float64 has no powers left


@dataclass(frozen=True)
class Paired:
    """What two subjects' answers to one task show.

    gains, losses: clusters on which the subject, or the other, did better; clusters: of all. interval: of the
    difference. loss_p: one-sided p that so much was lost by chance. standard_error: of the difference, by the
    bootstrap. counted: answers are right or wrong, so that counts are exact. samples: differences, [draws].
    """

    gains: int
    losses: int
    clusters: int
    difference: float
    interval: Interval
    loss_p: float
    standard_error: float
    counted: bool
    samples: Floats = field(repr=False, compare=False)

    def detectable(self, level: float) -> float:
        """Smallest true loss that a one-sided test at `level` would show with probability POWER."""
        confidence = 1 - 2 * level
        if self.counted:
            return detectable_loss(self.standard_error, self.clusters, confidence)
        return _normal_reach(level) * self.standard_error

    def kept_p(self, margin: float) -> float:
        """One-sided p of "more than `margin` was lost": at or under a level, the loss was shown to be
        smaller.

        The level at which the lower end of the interval reaches −margin. Of two that are united, the larger;
        the bootstrap's is never under 1 / (draws + 1).
        """
        defined = self.samples[~np.isnan(self.samples)]
        drawn = (1 + int((defined < -margin).sum())) / (len(defined) + 1)
        if self.counted:
            return max(drawn, _exact_kept_p(self.gains, self.losses, self.clusters, margin))
        return max(drawn, _student_p(-(self.difference + margin), self.standard_error, self.clusters))


def paired_difference(
    mine: Sequence[bool], theirs: Sequence[bool], clusters: Clusters, confidence: float
) -> Paired:
    """Compare two subjects on one task whose answers are right or wrong.

    The interval unites the paired bootstrap's with an exact one (Clopper-Pearson on gains and on losses, each
    at half the error), so that it keeps its level with few items or none that differ. Twins that are lost
    together count as one loss: a coin is flipped per cluster.
    """
    samples = clusters.means(mine) - clusters.means(theirs)
    change = np.asarray(mine, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
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
        samples=samples,
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
    reach = float(t.ppf((1 + confidence) / 2, clusters - 1)) * error
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
        samples=samples,
    )


def mcnemar_loss_p(gains: int, losses: int) -> float:
    """One-sided exact p: chance of at least `losses` losses among gains + losses fair coin flips.

    1 when nothing is discordant. Source: McNemar 1947, Psychometrika 12(2), in its exact binomial form.
    """
    return float(binom.sf(losses - 1, gains + losses, 0.5))


def fewest_losses(level: float) -> int:
    """Losses that the exact test needs at least, where nothing is gained: ⌈log2(1 / level)⌉."""
    return math.ceil(-math.log2(level))


def detectable_loss(standard_error: float, clusters: int, confidence: float) -> float:
    """Smallest true loss of accuracy that would be shown with probability POWER, 0 to 1.

    The normal formula (z of the one-sided level + z of the power) × standard error. Never under the loss rate
    at which as many losses as the exact test needs turn up with that probability; 1, all is lost, where the
    clusters are fewer than those.
    """
    level = (1 - confidence) / 2
    fewest = fewest_losses(level)
    rate = float(beta.ppf(POWER, fewest, clusters - fewest + 1)) if fewest <= clusters else 1.0
    return min(1.0, max(_normal_reach(level) * standard_error, rate))


def _normal_reach(level: float) -> float:
    """z of the level + z of the power."""
    return float(norm.isf(level) + norm.isf(1 - POWER))


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
    return max(0.5**clusters, float(t.cdf(difference / error, clusters - 1)))


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
