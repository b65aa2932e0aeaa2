"""Intervals keep their level, resamples are shared and repeatable, and small counts are exact."""

import math

import numpy as np
import pytest

from stages.core.errors import LabError
from stages.core.scoring.intervals import (
    Clusters,
    Interval,
    accuracy_interval,
    clopper_pearson,
    clusters_to_show,
    detectable_loss,
    is_non_inferior,
    mcnemar_loss_p,
    paired_difference,
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


def test_one_sided_mcnemar_of_eight_losses_and_no_gain_is_two_to_the_minus_eight() -> None:
    assert mcnemar_loss_p(0, 8) == pytest.approx(2**-8)


def test_mcnemar_without_a_discordant_item_shows_nothing() -> None:
    assert mcnemar_loss_p(0, 0) == 1.0


def test_equal_answers_are_not_proof_that_nothing_was_lost() -> None:
    # 40 equal answers: a loss rate of 1 − 0.0125^(1/40) = 0.104 would still look like this in 1 study of 80.
    clusters = Clusters(range(40), draws=100, seed=SEED)
    paired = paired_difference([True] * 40, [True] * 40, clusters, 0.95)
    assert paired.difference == 0
    assert paired.interval.low == pytest.approx(-(1 - 0.0125 ** (1 / 40)))
    assert not is_non_inferior(paired.interval, 0.10)
    assert is_non_inferior(paired.interval, 0.11)


def test_twins_lost_together_are_one_loss() -> None:
    clusters = Clusters(["x", "x", "y", "y"], draws=100, seed=SEED)
    paired = paired_difference([False, False, True, True], [True] * 4, clusters, 0.95)
    assert (paired.gains, paired.losses, paired.difference) == (0, 1, -0.5)
    assert paired.loss_p == 0.5


def test_detectable_loss_of_a_silent_study_is_the_rate_that_four_in_five_such_studies_would_show() -> None:
    assert detectable_loss(0.0, 40, 0.95) == pytest.approx(1 - 0.2 ** (1 / 40))  # 0.0394


def test_detectable_loss_is_2_8_standard_errors_at_the_usual_levels() -> None:
    assert detectable_loss(0.05, 10_000, 0.95) == pytest.approx(0.05 * (1.959964 + 0.841621), abs=1e-6)


def test_undefined_samples_are_left_out() -> None:
    assert percentile_interval(np.array([math.nan, 2.0, 2.0]), 0.95) == Interval(2.0, 2.0)
    assert math.isnan(percentile_interval(np.array([math.nan]), 0.95).low)


def _coverage(studies: int, pairs: int, twins: bool) -> tuple[float, float]:
    """Share of simulated studies whose interval holds the true difference, for the bootstrap and the union.

    Item difficulty is shared by both subjects (that is what pairing is for), and by twins.
    """
    source = np.random.Generator(np.random.PCG64(20))
    hits = np.zeros(2)
    truth = 0.85 - 0.70
    labels = [item // 2 if twins else item for item in range(2 * pairs)]
    clusters = Clusters(labels, draws=400, seed=SEED)
    for _ in range(studies):
        ease = np.repeat(source.random(pairs), 2) if twins else source.random(2 * pairs)
        mine, theirs = ease < 0.85, ease < 0.70
        samples = clusters.means(mine.tolist()) - clusters.means(theirs.tolist())
        alone = percentile_interval(samples, 0.95)
        united = paired_difference(mine.tolist(), theirs.tolist(), clusters, 0.95).interval
        hits += [interval.low <= truth <= interval.high for interval in (alone, united)]
    bootstrap, union = hits / studies
    return float(bootstrap), float(union)


@pytest.mark.parametrize("twins", [False, True])
def test_intervals_of_a_paired_difference_cover_at_their_level(twins: bool) -> None:
    bootstrap, united = _coverage(studies=600, pairs=75, twins=twins)
    # Monte-Carlo error of .95 over 600 studies: sd .0089. The percentile bootstrap on 75 clusters
    # runs a little short (n/(n−1), discreteness): .92 allows for it; the union must not be short.
    assert 0.92 <= bootstrap <= 0.98
    assert united >= 0.95 - 2 * 0.0089


def test_resampling_single_twins_would_cover_too_seldom() -> None:
    source = np.random.Generator(np.random.PCG64(21))
    wrong = Clusters(range(150), draws=300, seed=SEED)
    hits = 0
    for _ in range(300):
        correct = np.repeat(source.random(75), 2) < 0.7
        interval = percentile_interval(wrong.means(correct.tolist()), 0.95)
        hits += interval.low <= 0.7 <= interval.high
    assert hits / 300 < 0.90  # true level of such an interval is 2Φ(1.96/√2) − 1 = .834


def test_the_interval_of_a_perfect_score_has_a_width() -> None:
    clusters = Clusters(range(30), draws=100, seed=SEED)
    found = accuracy_interval([True] * 30, clusters.means([1] * 30), 0.95)
    assert found == Interval(pytest.approx(0.025 ** (1 / 30)), 1.0)


def _studies(count: int, lost: float, gained: float, pairs: int = 120) -> list[tuple[float, float]]:
    """(lower end of the difference, p of the loss) over simulated studies of these true rates."""
    source = np.random.Generator(np.random.PCG64(22))
    clusters = Clusters(range(pairs), draws=200, seed=SEED)
    found = []
    for _ in range(count):
        draw = source.random(pairs)
        theirs = draw >= gained  # they miss a share `gained` that the subject gets right
        mine = (draw < gained) | (draw >= gained + lost)
        paired = paired_difference(mine.tolist(), theirs.tolist(), clusters, 0.95)
        found.append((paired.interval.low, paired.loss_p))
    return found


def test_a_loss_as_large_as_the_margin_is_seldom_called_kept() -> None:
    kept = sum(is_non_inferior(Interval(low, 1.0), 0.10) for low, _ in _studies(500, lost=0.13, gained=0.03))
    assert kept / 500 <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 500)  # the one-sided level, Monte-Carlo error


def test_a_subject_that_lost_nothing_is_seldom_called_a_loser() -> None:
    flagged = sum(p <= 0.025 for _, p in _studies(500, lost=0.08, gained=0.08))
    assert flagged / 500 <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 500)


def test_a_planted_loss_of_a_quarter_is_always_found() -> None:
    assert all(p <= 0.025 for _, p in _studies(100, lost=0.25, gained=0.0))


def test_so_many_clusters_show_a_margin_and_one_less_does_not() -> None:
    fewest = clusters_to_show(0.10, 0.95)
    assert fewest == 42  # ln 0.0125 / ln 0.9 = 41.6
    for number, shown in ((fewest, True), (fewest - 1, False)):
        clusters = Clusters(range(number), draws=50, seed=SEED)
        paired = paired_difference([True] * number, [True] * number, clusters, 0.95)
        assert is_non_inferior(paired.interval, 0.10) is shown
