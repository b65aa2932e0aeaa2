"""What every subject reached on the hidden cases, with intervals from one resample shared by all."""

import hashlib
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.errors import LabError
from stages.core.records.evidence import Subject
from stages.core.records.policy import FrontPolicy, Policy
from stages.core.scoring.intervals import (
    Clusters,
    Floats,
    accuracy_interval,
    percentile_interval,
    shared_resample,
)
from stages.core.scoring.paired import detectable_loss
from stages.pareto.study import NICHE, Study, Task


@dataclass(frozen=True)
class Number:
    """An estimate with its interval at the policy's confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Niche:
    """One objective: the mean accuracy over a parent's niche tasks.

    gain: accuracy of that parent minus the base's. A niche whose gain is not shown to be above zero cannot be
    recovered by anything: `proven` is False, and no headline exists. detectable: smallest true gain that
    would be shown four times in five.
    """

    parent: str
    tasks: tuple[str, ...]
    gain: Number
    proven: bool
    detectable: float


@dataclass(frozen=True)
class NicheScore:
    """A subject on one niche. accuracy in [0, 1]; retention = accuracy / the parent's.

    recovered = (subject − base) / (parent − base): 0 is the base, 1 the parent; unbounded, None if unproven.
    """

    accuracy: Number
    retention: float
    recovered: Number | None


@dataclass(frozen=True)
class Standing:
    """One subject's results.

    headline: the least recovered fraction over the niches. mean: unweighted mean accuracy over the niches.
    samples: niche accuracies per resample, [draws, niches]; headline_samples: [draws].
    """

    subject: Subject
    niches: tuple[NicheScore, ...]
    headline: Number | None
    mean: float
    tasks: Mapping[str, Number]
    samples: Floats
    headline_samples: Floats


@dataclass(frozen=True)
class Measures:
    """All standings in the order of the evidence, and the resample they share."""

    niches: tuple[Niche, ...]
    standings: Mapping[str, Standing]
    clusters: Mapping[str, Clusters]

    @property
    def proven(self) -> bool:
        """Whether every parent was shown to gain on its niche."""
        return bool(self.niches) and all(niche.proven for niche in self.niches)


def measure(study: Study, policy: Policy) -> Measures:
    """Score every subject of the study. Raises LabError if a task has too few clusters to resample."""
    if not study.evidence:
        return Measures((), {}, {})
    labels = {task.name: _labels(task, policy.front) for task in study.tasks}
    seed = f"mergelab/bootstrap/1\0{study.suite['digest']}\0{study.frozen}"
    clusters = shared_resample(
        labels, draws=policy.front.bootstrap, seed=hashlib.sha256(seed.encode()).digest()
    )
    samples = {name: _samples(study, name, clusters) for name in study.evidence}
    bench = _Bench(study, clusters, samples, policy.confidence)
    niches = tuple(bench.niche(place, *named) for place, named in enumerate(study.niches))
    return Measures(niches, {name: bench.standing(name, niches) for name in study.evidence}, clusters)


def _labels(task: Task, front: FrontPolicy) -> list[Hashable]:
    """What is resampled together: twins, template families or single items, as the policy says.

    Only niches need the policy's `min_clusters`: recovered fractions have percentiles alone, while every
    other interval is united with an exact one or Student's, which know how few clusters there are.
    """
    labels: list[Hashable] = []
    for place, item in enumerate(task.items):
        if front.cluster == "item" or (front.cluster == "pair" and item["pair"] is None):
            labels.append(place)
        else:
            labels.append(str(item[front.cluster]))
    found, least = len(set(labels)), front.min_clusters if task.kind.startswith(NICHE) else 2
    if found < least:
        raise LabError(
            f"task {task.name!r} has {found} hidden clusters by {front.cluster!r}, and {least} are asked for "
            "(policy.front.min_clusters for niches, 2 for any other): intervals would be too narrow. Draw "
            "more hidden items in conf/suite, or choose another policy.front.cluster."
        )
    return labels


def _samples(study: Study, name: str, clusters: Mapping[str, Clusters]) -> Floats:
    """Niche accuracies of a subject per resample: the mean over each niche's tasks. Shape [draws, niches]."""
    columns = []
    for _, tasks in study.niches:
        means = [clusters[task].means(study.answers(name, task).correct) for task in tasks]
        columns.append(np.mean(np.stack(means, axis=1), axis=1))
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class _Bench:
    """What every standing is made from. samples: subject → niche accuracies per resample."""

    study: Study
    clusters: Mapping[str, Clusters]
    samples: Mapping[str, Floats]
    confidence: float

    def niche(self, place: int, parent: str, tasks: Sequence[str]) -> Niche:
        """The objective at `place`, with the gain of its parent over the base."""
        base = self.study.experiment.base
        gains = self.samples[parent][:, place] - self.samples[base][:, place]
        gain = self.number(self.mean(parent, tasks) - self.mean(base, tasks), gains)
        number = sum(self.clusters[task].number for task in tasks)
        reach = detectable_loss(float(np.std(gains)), number, self.confidence)
        return Niche(parent, tuple(tasks), gain, gain.low > 0, reach)

    def standing(self, name: str, niches: Sequence[Niche]) -> Standing:
        """All results of one subject."""
        tasks = {task.name: self.task(name, task.name) for task in self.study.tasks}
        shares = [self.shares(name, place, niche.parent) for place, niche in enumerate(niches)]
        least = np.min(np.stack(shares, axis=1), axis=1)
        scores = tuple(
            self.score(name, place, niche, (tasks, shares[place])) for place, niche in enumerate(niches)
        )
        known = [score.recovered.value for score in scores if score.recovered is not None]
        headline = self.number(min(known), least) if len(known) == len(scores) else None
        mean = math.fsum(score.accuracy.value for score in scores) / len(scores)
        subject = self.study.evidence[name].subject
        return Standing(subject, scores, headline, mean, tasks, self.samples[name], least)

    def score(
        self, name: str, place: int, niche: Niche, known: tuple[Mapping[str, Number], Floats]
    ) -> NicheScore:
        """One subject on one niche. known: its accuracy per task, and its recovered fraction per resample."""
        tasks, shares = known
        single = len(niche.tasks) == 1
        accuracy = self.mean(name, niche.tasks)
        number = tasks[niche.tasks[0]] if single else self.number(accuracy, self.samples[name][:, place])
        parent = self.mean(niche.parent, niche.tasks)
        gained = accuracy - self.mean(self.study.experiment.base, niche.tasks)
        recovered = self.number(gained / niche.gain.value, shares) if niche.proven else None
        return NicheScore(number, accuracy / parent if parent else 0.0, recovered)

    def shares(self, name: str, place: int, parent: str) -> Floats:
        """Recovered fraction per resample; NaN where the parent gained nothing. Shape [draws]."""
        mine, whole = (self.samples[who][:, place] for who in (name, parent))
        base = self.samples[self.study.experiment.base][:, place]
        undefined = np.full_like(mine, np.nan)
        return np.divide(mine - base, whole - base, out=undefined, where=whole > base)

    def task(self, name: str, task: str) -> Number:
        """Accuracy on one task."""
        answers = self.study.answers(name, task)
        samples = self.clusters[task].means(answers.correct)
        interval = accuracy_interval(answers.correct, samples, self.confidence)
        return Number(answers.accuracy, interval.low, interval.high)

    def mean(self, name: str, tasks: Sequence[str]) -> float:
        """Mean accuracy over tasks."""
        return math.fsum(self.study.answers(name, task).accuracy for task in tasks) / len(tasks)

    def number(self, value: float, samples: Floats) -> Number:
        """An estimate with the interval of its samples."""
        interval = percentile_interval(samples, self.confidence)
        return Number(value, interval.low, interval.high)
