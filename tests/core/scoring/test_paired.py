"""Paired comparisons: exact where answers are counted, Student's where they have a size; levels are kept."""

from math import comb

import pytest
from scipy.stats import binom

from stages.core.scoring.intervals import Clusters
from stages.core.scoring.paired import (
    clusters_to_show,
    detectable_rate,
    fewest_losses,
    is_non_inferior,
    mcnemar_loss_p,
    paired_difference,
    paired_mean,
)

SEED = b"study"


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


def test_the_exact_test_needs_six_losses_at_the_usual_level() -> None:
    assert fewest_losses(0.025) == 6  # 2^-5 = .031, 2^-6 = .016
    assert fewest_losses(0.025 / 264) == 14  # among 24 candidates and 11 skills


def test_a_silent_study_detects_the_loss_rate_at_which_four_in_five_would_show_six_losses() -> None:
    clusters = Clusters(range(40), draws=50, seed=SEED)
    silent = paired_difference([True] * 40, [True] * 40, clusters, 0.95)
    assert binom.sf(5, 40, silent.detectable(0.025)) == pytest.approx(0.8, abs=1e-4)


def test_gains_by_chance_hide_losses() -> None:
    rates = [detectable_rate(gained, 120, 0.025) for gained in (0.0, 0.05, 0.2)]
    assert rates == sorted(rates)
    assert rates[0] < 0.07  # six of 120, four times in five
    assert rates[2] > 0.11


def test_the_power_at_a_detectable_rate_is_four_in_five_by_enumeration() -> None:
    rate = detectable_rate(0.1, 12, 0.2)
    lost, power = 0.1 + rate, 0.0
    for losses in range(13):
        for gains in range(13 - losses):
            ways = comb(12, losses) * comb(12 - losses, gains)
            chance = ways * lost**losses * 0.1**gains * (0.9 - lost) ** (12 - losses - gains)
            power += chance * (mcnemar_loss_p(gains, losses) <= 0.2)
    assert power == pytest.approx(0.8, abs=1e-4)


def test_what_cannot_be_shown_with_so_few_items_is_detectable_only_where_all_is_lost() -> None:
    assert detectable_rate(0.0, 5, 0.025) == 1.0


def test_a_detectable_loss_is_2_8_standard_errors_at_the_usual_levels() -> None:
    clusters = Clusters(range(30), draws=200, seed=SEED)
    paired = paired_mean([0.1 * n for n in range(30)], [1.0] * 30, clusters, 0.95)
    assert paired.detectable(0.025) == pytest.approx(paired.standard_error * (1.959964 + 0.841621), rel=1e-6)


def test_more_tests_in_a_family_detect_only_larger_losses() -> None:
    clusters = Clusters(range(120), draws=50, seed=SEED)
    paired = paired_difference([True] * 100 + [False] * 20, [True] * 120, clusters, 0.95)
    assert paired.detectable(0.025) < paired.detectable(0.025 / 264)


def test_a_smaller_mean_is_better_and_a_larger_one_is_a_loss() -> None:
    clusters = Clusters(range(20), draws=200, seed=SEED)
    worse = paired_mean([2.0 + 0.01 * n for n in range(20)], [1.0] * 20, clusters, 0.95)
    assert worse.difference == pytest.approx(-1.095)
    assert (worse.gains, worse.losses) == (0, 20)
    assert worse.loss_p == 0.5**20  # Student's p is smaller: it is never under that of 20 coins


def test_the_interval_of_a_mean_is_at_least_students() -> None:
    # Ten differences −1 … −10: mean −5.5, sd (n − 1) 3.0277, error .9574, t(9) at .975 = 2.2622.
    clusters = Clusters(range(10), draws=20_000, seed=SEED)
    found = paired_mean(list(range(1, 11)), [0.0] * 10, clusters, 0.95).interval
    assert (found.low, found.high) == pytest.approx((-5.5 - 2.166, -5.5 + 2.166), abs=0.03)


def test_nats_a_token_weigh_texts_by_their_tokens() -> None:
    clusters = Clusters(range(2), draws=4, seed=SEED)
    found = paired_mean([10.0, 300.0], [10.0, 200.0], clusters, 0.95, weights=[10.0, 90.0])
    assert found.difference == pytest.approx(-1.0)  # 100 nats more over 100 tokens


def test_the_p_of_a_kept_skill_is_the_level_at_which_the_interval_reaches_the_margin() -> None:
    clusters = Clusters(range(60), draws=4000, seed=SEED)
    mine, theirs = [True] * 57 + [False] * 3, [False] + [True] * 59
    at = paired_difference(mine, theirs, clusters, 0.95).kept_p(
        0.20
    )  # few differ: the exact interval decides
    inside, outside = (
        paired_difference(mine, theirs, clusters, 1 - 2 * at * factor).interval for factor in (1.02, 0.98)
    )
    assert is_non_inferior(inside, 0.20)
    assert not is_non_inferior(outside, 0.20)


def test_nothing_is_kept_within_a_margin_of_which_more_was_lost() -> None:
    clusters = Clusters(range(20), draws=500, seed=SEED)
    assert paired_difference([False] * 10 + [True] * 10, [True] * 20, clusters, 0.95).kept_p(0.1) > 0.9


def test_so_many_clusters_show_a_margin_and_one_less_does_not() -> None:
    fewest = clusters_to_show(0.10, 0.95)
    assert fewest == 42  # ln 0.0125 / ln 0.9 = 41.6
    for number, shown in ((fewest, True), (fewest - 1, False)):
        clusters = Clusters(range(number), draws=50, seed=SEED)
        paired = paired_difference([True] * number, [True] * number, clusters, 0.95)
        assert is_non_inferior(paired.interval, 0.10) is shown
