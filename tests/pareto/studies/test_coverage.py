"""Intervals hold the truth as often as they say, over simulated studies; beside them, ways that do not."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.stats import binom

from stages.core.scoring.intervals import (
    Clusters,
    Floats,
    Interval,
    accuracy_interval,
    clopper_pearson,
    percentile_interval,
)
from stages.core.scoring.metrics.calibration import bins_of, ece_interval
from stages.core.scoring.metrics.selective import aurc, aurc_samples
from stages.core.scoring.paired import paired_difference, paired_mean
from tests.pareto.studies.simulate import fewest, generator

STUDIES, PAIRS, DRAWS = 300, 75, 200
TWINS = Clusters([item // 2 for item in range(2 * PAIRS)], draws=DRAWS, seed=b"coverage")
SINGLE = Clusters(range(2 * PAIRS), draws=DRAWS, seed=b"coverage")


def holding(truth: float, intervals: Iterator[Interval]) -> int:
    return sum(one.low <= truth <= one.high for one in intervals)


def test_exact_bounds_hold_every_share_at_least_as_often_as_they_say() -> None:
    shares = np.linspace(0.001, 0.999, 250)
    for trials in (8, 30):
        bounds = [clopper_pearson(right, trials, 0.95) for right in range(trials + 1)]
        held = np.array([[one.low <= share <= one.high for one in bounds] for share in shares])
        chance = binom.pmf(np.arange(trials + 1), trials, shares[:, None])
        assert (held * chance).sum(axis=1).min() >= 0.95  # no simulation: every outcome is enumerated


def test_an_accuracy_is_held_where_twins_are_right_together_and_not_where_they_are_taken_apart() -> None:
    random = generator("accuracy")
    answers = [np.repeat(random.random(PAIRS) < 0.7, 2) for _ in range(STUDIES)]
    held = holding(0.7, (percentile_interval(TWINS.means(one), 0.95).union(_exact(one)) for one in answers))
    assert held >= fewest(STUDIES, 0.95)
    apart = holding(0.7, (accuracy_interval(one.tolist(), SINGLE.means(one), 0.95) for one in answers))
    assert apart < fewest(STUDIES, 0.95)  # its true level is 2Φ(1.96 / √2) − 1 = .834


def _exact(one: np.ndarray) -> Interval:
    return clopper_pearson(int(one.sum()), len(one), 0.95)


@pytest.mark.parametrize("clusters", [TWINS, SINGLE], ids=["twins", "items"])
def test_a_paired_difference_is_held(clusters: Clusters) -> None:
    random = generator(f"difference {clusters.number}")

    def intervals() -> Iterator[Interval]:
        for _ in range(STUDIES):
            ease = random.random(clusters.number)[clusters.item_cluster]  # an item is as hard for both
            yield paired_difference((ease < 0.85).tolist(), (ease < 0.70).tolist(), clusters, 0.95).interval

    assert holding(0.15, intervals()) >= fewest(STUDIES, 0.95)


def test_a_difference_of_few_skewed_texts_is_held_by_students_interval_and_not_by_percentiles() -> None:
    # Twelve texts whose nats differ by a normal amount: percentiles forget that the spread is estimated.
    random = generator("nats")
    clusters = Clusters(range(12), draws=DRAWS, seed=b"texts")
    changes = random.normal(0.3, 1.0, (STUDIES, 12))
    paired = [paired_mean((-one).tolist(), [0.0] * 12, clusters, 0.95).interval for one in changes]
    assert holding(0.3, iter(paired)) >= fewest(STUDIES, 0.95)
    alone = (percentile_interval(clusters.means(one), 0.95) for one in changes)
    assert holding(0.3, alone) < fewest(STUDIES, 0.95)


def test_a_recovered_fraction_is_held() -> None:
    # The ratio of two paired gains, as the headline takes it on each niche: base .5, parent .95, merge .86.
    random = generator("recovered")

    def intervals() -> Iterator[Interval]:
        for _ in range(STUDIES):
            ease = random.random(2 * PAIRS)
            base, parent, merge = (SINGLE.means(ease < accuracy) for accuracy in (0.5, 0.95, 0.86))
            yield percentile_interval((merge - base) / (parent - base), 0.95)

    assert holding(0.36 / 0.45, intervals()) >= fewest(STUDIES, 0.95)


def calibrated(confidence: Floats) -> Floats:
    return confidence


def too_sure(confidence: Floats) -> Floats:
    return confidence - 0.2 * (confidence - 0.5)


@pytest.mark.parametrize("truth", [calibrated, too_sure])
def test_a_calibration_error_is_held_and_not_by_percentiles(truth: Callable[[Floats], Floats]) -> None:
    random = generator(truth.__name__)
    error = 0.05 if truth is too_sure else 0.0  # the mean of .2·(c − .5) over c uniform from .5 to 1
    held, resampled = [], []
    for _ in range(STUDIES // 2):
        confidence = 0.5 + 0.5 * random.random(120)
        correct = random.random(120) < truth(confidence)
        clusters = Clusters(range(120), draws=DRAWS, seed=b"calibration")
        held.append(ece_interval(confidence.tolist(), correct.tolist(), clusters, 0.95))
        resampled.append(percentile_interval(_errors(confidence, correct, clusters), 0.95))
    assert holding(error, iter(held)) >= fewest(STUDIES // 2, 0.95)
    assert holding(error, iter(resampled)) < fewest(STUDIES // 2, 0.95)


def _errors(confidence: Floats, correct: np.ndarray, clusters: Clusters) -> Floats:
    """The error of each resample, as a plain bootstrap takes it."""
    place = bins_of(confidence.tolist())
    return np.sum(
        [np.abs(clusters.means(np.where(place == one, correct - confidence, 0.0))) for one in set(place)],
        axis=0,
    )


def test_an_area_under_risk_and_coverage_is_held() -> None:
    random = generator("aurc")

    def sample(items: int) -> tuple[list[float], list[bool]]:
        certainty = random.random(items)
        return certainty.tolist(), (random.random(items) < 0.5 + 0.5 * certainty).tolist()

    truth = aurc(*sample(200_000))
    drawn = [sample(2 * PAIRS) for _ in range(STUDIES)]
    intervals = (percentile_interval(aurc_samples(*one, SINGLE), 0.95) for one in drawn)
    assert holding(truth, intervals) >= fewest(STUDIES, 0.95)
