"""Resamples and intervals: every subject answered the same items, some of them twins.

One resample is drawn per study and shared by all subjects, so that differences, minima and fronts are paired:
an item that is easy for all of them cancels out. What is resampled is the cluster (twins, or a template
family), never the single item of a cluster: its items rise and fall together.

Random numbers are the raw 64-bit output of PCG64, which numpy keeps stable between versions (NEP 19; its
distributions are not), one stream per (seed, task): adding a task leaves the others' resamples unchanged.
Counts are integers in float64, so sums are exact in any order on any processor.
"""

import copy
import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from stages.core.errors import LabError

Floats = NDArray[np.float64]


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

    @cached_property
    def items(self) -> Floats:
        """How many items each resample holds. Shape [draws]."""
        return np.asarray(self.counts @ self.sizes)

    def means(self, values: Sequence[float] | Floats) -> Floats:
        """Mean of `values` (one per item) over the items of each resample; NaN without any. Shape [draws].

        Raises LabError if there is not exactly one value per item.
        """
        if len(values) != len(self.item_cluster):
            wanted = len(self.item_cluster)
            raise LabError(f"expected {wanted} answers, got {len(values)}. Run `dvc repro eval`.")
        sums = np.bincount(self.item_cluster, weights=np.asarray(values, dtype=np.float64))
        undefined = np.full_like(self.items, np.nan)
        return np.asarray(np.divide(self.counts @ sums, self.items, out=undefined, where=self.items > 0))

    def part(self, places: Sequence[int]) -> "Clusters":
        """The items at `places` alone, in that order, on the same resamples: pass them `values` of their own.

        A resample may hold none of a small part; its mean is NaN there.
        """
        part = copy.copy(self)
        part.__dict__.pop("items", None)  # the cached property is of the whole
        kept, part.item_cluster = np.unique(self.item_cluster[list(places)], return_inverse=True)
        part.sizes = np.bincount(part.item_cluster).astype(np.float64)
        part.counts = self.counts[:, kept]
        return part


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
    low = betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return Interval(float(low), float(high))


def accuracy_interval(correct: Sequence[bool], samples: Floats, confidence: float) -> Interval:
    """Interval of an accuracy: the bootstrap's (sees clusters) united with the exact one (sees few items)."""
    exact = clopper_pearson(sum(correct), len(correct), confidence)
    return percentile_interval(samples, confidence).union(exact)
