"""Intervals and tests for paired answers: every subject answered the same items, some of them twins.

One resample is drawn per study and shared by all subjects, so that differences, minima and fronts are paired:
an item that is easy for all of them cancels out. What is resampled is the cluster (twins, or a template
family), never the single item of a cluster: its items rise and fall together.

Random numbers are the raw 64-bit output of PCG64, which numpy keeps stable between versions (NEP 19; its
distributions are not), one stream per (seed, task): adding a task leaves the others' resamples unchanged.
Counts are integers in float64, so sums are exact in any order on any processor.
"""

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, norm

from stages.core.errors import LabError

Floats = NDArray[np.float64]
POWER = 0.8  # chance of finding a difference of the size called detectable; the usual level in trial design


@dataclass(frozen=True)
class Interval:
    """Lower and upper end, both included; the unit is that of the thing measured."""

    low: float
    high: float

    def union(self, other: "Interval") -> "Interval":
        """The smallest interval that holds both: at least as likely to cover as either."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


class Clusters:
    """Which items of one task are resampled together, and how often each cluster occurs in each resample."""

    def __init__(self, labels: Sequence[Hashable], *, draws: int, seed: bytes) -> None:
        """labels: the cluster of each item, in the order of the items; numbered by first appearance."""
        numbers: dict[Hashable, int] = {}
        self.item_cluster = np.array([numbers.setdefault(label, len(numbers)) for label in labels])
        self.sizes = np.bincount(self.item_cluster).astype(np.float64)
        self.counts = _resample(len(numbers), draws, seed)

    @property
    def number(self) -> int:
        """How many clusters there are."""
        return len(self.sizes)

    def means(self, values: Sequence[float] | Floats) -> Floats:
        """Mean of `values` (one per item) over the items of each resample. Shape [draws].

        Raises LabError if there is not exactly one value per item.
        """
        if len(values) != len(self.item_cluster):
            wanted = len(self.item_cluster)
            raise LabError(f"expected {wanted} answers, got {len(values)}. Run `dvc repro eval`.")
        sums = np.bincount(self.item_cluster, weights=np.asarray(values, dtype=np.float64))
        return np.asarray((self.counts @ sums) / (self.counts @ self.sizes), dtype=np.float64)


def shared_resample(
    labels: Mapping[str, Sequence[Hashable]], *, draws: int, seed: bytes
) -> dict[str, Clusters]:
    """One `Clusters` per task, all from one seed; the first n resamples are the same for any `draws` >= n."""
    return {
        task: Clusters(clusters, draws=draws, seed=hashlib.sha256(seed + b"\0" + task.encode()).digest())
        for task, clusters in labels.items()
    }


def _resample(clusters: int, draws: int, seed: bytes) -> Floats:
    """How often each cluster occurs in `clusters` draws with replacement. Shape [draws, clusters].

    Index = high 32 bits × clusters / 2^32: its bias is under clusters / 2^32, 1e-7 for 400 clusters.
    """
    raw = np.random.PCG64(int.from_bytes(seed, "big")).random_raw((draws, clusters))
    index = ((raw >> np.uint64(32)) * np.uint64(clusters)) >> np.uint64(32)
    flat = index.astype(np.int64) + np.arange(draws)[:, None] * clusters
    return np.bincount(flat.ravel(), minlength=draws * clusters).reshape(draws, clusters).astype(np.float64)


def percentile_interval(samples: Floats, confidence: float) -> Interval:
    """The middle `confidence` of bootstrap `samples`; undefined samples (NaN) are left out.

    Source: Efron 1979. It has no width where all samples agree (all answers right): unite it with
    `clopper_pearson` there.
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return Interval(math.nan, math.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Interval(float(low), float(high))


def clopper_pearson(successes: int, trials: int, confidence: float) -> Interval:
    """Exact interval of a share: covers at least `confidence` for every true share.

    Raises LabError unless 0 <= successes <= trials and trials > 0. Source: Clopper and Pearson 1934,
    Biometrika 26(4).
    """
    if not 0 <= successes <= trials or trials == 0:
        raise LabError(f"expected 0 <= successes <= trials and trials > 0, got {successes} of {trials}.")
    tail = (1 - confidence) / 2
    low = beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return Interval(float(low), float(high))


def accuracy_interval(correct: Sequence[bool], samples: Floats, confidence: float) -> Interval:
    """Interval of an accuracy: the bootstrap's (sees clusters) united with the exact one (sees few items)."""
    exact = clopper_pearson(sum(correct), len(correct), confidence)
    return percentile_interval(samples, confidence).union(exact)


@dataclass(frozen=True)
class Paired:
    """One subject against another on the same items.

    gains, losses: clusters on which the subject, or the other, got more items right. difference: accuracy of
    the subject minus the other's. interval: of the difference. loss_p: one-sided exact McNemar p that so many
    losses are chance. detectable: smallest true loss that these items would show with probability POWER.
    """

    gains: int
    losses: int
    difference: float
    interval: Interval
    loss_p: float
    detectable: float


def paired_difference(
    mine: Sequence[bool], theirs: Sequence[bool], clusters: Clusters, confidence: float
) -> Paired:
    """Compare two subjects on one task.

    The interval unites the paired bootstrap's with an exact one (Clopper-Pearson on gains and on losses, each
    at half the error), so that it keeps its level with few items or none that differ. Twins that are lost
    together count as one loss: a coin is flipped per cluster.
    """
    samples = clusters.means(mine) - clusters.means(theirs)
    change = np.asarray(mine, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    net = np.bincount(clusters.item_cluster, weights=change)
    gains, losses = int((net > 0).sum()), int((net < 0).sum())
    each = 1 - (1 - confidence) / 2
    up = clopper_pearson(gains, clusters.number, each)
    down = clopper_pearson(losses, clusters.number, each)
    exact = Interval(up.low - down.high, up.high - down.low)
    return Paired(
        gains,
        losses,
        float(change.mean()),
        percentile_interval(samples, confidence).union(exact),
        mcnemar_loss_p(gains, losses),
        detectable_loss(float(np.std(samples)), clusters.number, confidence),
    )


def mcnemar_loss_p(gains: int, losses: int) -> float:
    """One-sided exact p: chance of at least `losses` losses among gains + losses fair coin flips.

    1 when nothing is discordant. Source: McNemar 1947, Psychometrika 12(2), in its exact binomial form.
    """
    return float(binom.sf(losses - 1, gains + losses, 0.5))


def detectable_loss(standard_error: float, clusters: int, confidence: float) -> float:
    """Smallest true loss of accuracy that would be shown with probability POWER, 0 to 1.

    The normal formula (z of the one-sided level + z of the power) × standard error; never under the loss rate
    at which `clusters` clusters would show no loss at all with probability 1 − POWER.
    """
    wide = (norm.ppf((1 + confidence) / 2) + norm.ppf(POWER)) * standard_error
    return float(min(1.0, max(wide, 1 - (1 - POWER) ** (1 / clusters))))


def is_non_inferior(interval: Interval, margin: float) -> bool:
    """Whether an interval of (subject − reference) shows that no more than `margin` was lost."""
    return interval.low >= -margin


def clusters_to_show(margin: float, confidence: float) -> int:
    """Fewest clusters with which a subject that loses nothing is shown to lose at most `margin` (0 to 1).

    The closed form of `paired_difference` where nothing differs: ln((1 − confidence) / 4) / ln(1 − margin).
    """
    return math.ceil(math.log((1 - confidence) / 4) / math.log(1 - margin))
