"""Brier, NLL, bins of equal mass, calibration error and temperature, worked out by hand."""

import math

import pytest

from stages.core.scoring.intervals import Clusters
from stages.core.scoring.metrics.calibration import (
    Bin,
    adaptive_ece,
    bins_of,
    ece_interval,
    mean_brier,
    mean_nll,
    reliability,
)
from stages.core.scoring.metrics.temperature import HIGHEST, LOWEST, at_temperature, fit_temperature


def test_the_brier_score_is_the_mean_over_items() -> None:
    assert mean_brier([0.0, 2.0, 0.5]) == pytest.approx(2.5 / 3)


def test_nll_of_a_coin_is_ln_two_and_a_rounded_zero_is_not_infinite() -> None:
    assert mean_nll([0.5, 0.5]) == pytest.approx(math.log(2))
    assert mean_nll([0.0]) == pytest.approx(-math.log(5e-5))


def test_bins_hold_as_many_items_each_and_never_fewer_than_twelve() -> None:
    assert bins_of([0.001 * n for n in range(120)]).tolist() == [n // 12 for n in range(120)]
    assert max(bins_of([0.01 * n for n in range(30)])) == 1  # 30 items are two bins of 15
    assert set(bins_of([0.7, 0.8, 0.9])) == {0}


def test_equal_confidences_stand_in_one_bin() -> None:
    assert bins_of([0.9] * 30 + [0.5] * 6).tolist() == [1] * 30 + [0] * 6


def test_reliability_and_error_of_two_bins() -> None:
    # 12 items at .6 of which 9 are right, 12 at .9 of which 6 are: gaps of .15 and .4, each on half of all.
    confidence = [0.6] * 12 + [0.9] * 12
    correct = [True] * 9 + [False] * 3 + [True] * 6 + [False] * 6
    assert reliability(confidence, correct) == [
        Bin(12, pytest.approx(0.6), 0.75),
        Bin(12, pytest.approx(0.9), 0.5),
    ]
    assert adaptive_ece(confidence, correct) == pytest.approx(0.275)


def test_the_interval_of_a_calibration_error_holds_its_estimate_and_stays_in_range() -> None:
    confidence, correct = [0.6] * 12 + [0.9] * 12, [True] * 9 + [False] * 3 + [True] * 6 + [False] * 6
    found = ece_interval(confidence, correct, Clusters(range(24), draws=200, seed=b"ece"), 0.95)
    assert 0 <= found.low < 0.275 < found.high <= 1


def test_a_temperature_of_one_changes_nothing_and_two_halves_the_logit() -> None:
    assert at_temperature([0.6, 0.9], 1.0) == pytest.approx([0.6, 0.9])
    assert at_temperature([0.9], 2.0) == pytest.approx([0.75])  # logit ln 9, half of it ln 3


def test_the_temperature_of_one_confidence_is_the_one_that_meets_the_share_right() -> None:
    # Stated .9, right 3 in 4: σ(ln 9 / T) = .75 where ln 9 / T = ln 3.
    assert fit_temperature([0.9] * 4, [True, True, True, False]) == pytest.approx(2.0)


def test_a_temperature_is_bounded_where_confidence_says_nothing_or_everything() -> None:
    assert fit_temperature([0.9] * 4, [True, False] * 2) == pytest.approx(HIGHEST)
    assert fit_temperature([0.6] * 4, [True] * 4) == pytest.approx(LOWEST, rel=1e-3)
