"""Resamples are shared and repeatable, intervals keep their level, and small counts are exact."""

import math

import numpy as np
import pytest

from stages.core.errors import LabError
from stages.core.scoring.intervals import (
    Clusters,
    Interval,
    accuracy_interval,
    clopper_pearson,
    percentile_interval,
    shared_resample,
)

SEED = b"study"


def test_the_first_resample_of_five_clusters_is_the_committed_one() -> None:
    # Reference: this file's first run (numpy 2.4); a change means that numpy's PCG64 or the mapping moved.
    counts = Clusters("abcde", draws=4, seed=SEED).counts
    assert counts.tolist() == [[1, 1, 1, 1, 1], [0, 2, 2, 0, 1], [2, 1, 1, 1, 0], [0, 0, 2, 2, 1]]


def test_more_draws_keep_the_first_ones() -> None:
    few, many = (Clusters(range(30), draws=draws, seed=SEED).counts for draws in (100, 300))
    assert np.array_equal(few, many[:100])


def test_every_resample_draws_as_many_clusters_as_there_are() -> None:
    assert set(Clusters(range(17), draws=50, seed=SEED).counts.sum(axis=1)) == {17.0}


def test_a_task_keeps_its_resample_when_another_is_added_before_it() -> None:
    alone = shared_resample({"sort": range(9)}, draws=20, seed=SEED)["sort"].counts
    beside = shared_resample({"copy": range(4), "sort": range(9)}, draws=20, seed=SEED)["sort"].counts
    assert np.array_equal(alone, beside)


def test_twins_are_resampled_together() -> None:
    clusters = Clusters(["x", "x", "y", "y"], draws=200, seed=SEED)
    # One twin of each pair is right, so every resample of whole pairs has accuracy one half.
    assert set(clusters.means([1, 0, 1, 0])) == {0.5}


def test_means_over_unequal_clusters_weigh_items_not_clusters() -> None:
    clusters = Clusters(["x", "x", "x", "y"], draws=1, seed=SEED)
    clusters.counts[:] = [[1, 1]]
    assert clusters.means([1, 1, 1, 0]).tolist() == [0.75]


def test_a_part_has_the_resamples_of_the_whole() -> None:
    clusters = Clusters(["x", "x", "y", "z"], draws=50, seed=SEED)
    part = clusters.part([1, 2])  # one twin of x, and y: every resample is x's and y's share of draws
    x, y = clusters.counts[:, 0], clusters.counts[:, 1]
    with np.errstate(invalid="ignore"):
        assert np.array_equal(part.means([1, 0]), x / (x + y), equal_nan=True)


def test_a_resample_without_an_item_of_the_part_has_no_mean() -> None:
    clusters = Clusters("abc", draws=200, seed=SEED)
    assert np.array_equal(np.isnan(clusters.part([0]).means([1])), clusters.counts[:, 0] == 0)


def test_answers_of_another_length_are_refused() -> None:
    with pytest.raises(LabError, match="expected 3 answers, got 2"):
        Clusters("abc", draws=1, seed=SEED).means([1, 0])


def test_clopper_pearson_of_none_in_ten_is_the_closed_form() -> None:
    # (α/2)^(1/n): 1 − 0.025^(1/10) = 0.3085; Clopper and Pearson's own table says 0.31.
    found = clopper_pearson(0, 10, 0.95)
    assert found.low == 0
    assert found.high == pytest.approx(1 - 0.025**0.1, abs=1e-12)


def test_clopper_pearson_of_two_in_ten_is_the_published_one() -> None:
    found = clopper_pearson(2, 10, 0.95)  # R: binom.test(2, 10)$conf.int = 0.02521073 0.55609546
    assert (found.low, found.high) == pytest.approx((0.02521073, 0.55609546), abs=1e-8)


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 2), (0, 0)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(LabError, match="expected 0 <= successes <= trials"):
        clopper_pearson(successes, trials, 0.95)


def test_undefined_samples_are_left_out() -> None:
    assert percentile_interval(np.array([math.nan, 2.0, 2.0]), 0.95) == Interval(2.0, 2.0)
    assert math.isnan(percentile_interval(np.array([math.nan]), 0.95).low)


def test_the_interval_of_a_perfect_score_has_a_width() -> None:
    clusters = Clusters(range(30), draws=100, seed=SEED)
    found = accuracy_interval([True] * 30, clusters.means([1] * 30), 0.95)
    assert found == Interval(pytest.approx(0.025 ** (1 / 30)), 1.0)
