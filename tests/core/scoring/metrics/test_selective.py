"""Risk and coverage, worked out by hand."""

import numpy as np
import pytest

from stages.core.scoring.intervals import Clusters
from stages.core.scoring.metrics.selective import aurc, aurc_samples, risk_coverage


def test_risk_rises_with_coverage_where_the_certain_answers_are_right() -> None:
    assert risk_coverage([0.9, 0.2, 0.8, 0.1], [True, False, True, False]) == [
        (0.25, 0.0), (0.5, 0.0), (0.75, pytest.approx(1 / 3)), (1.0, 0.5),
    ]  # fmt: skip


def test_items_of_equal_certainty_are_answered_together() -> None:
    assert risk_coverage([0.9, 0.5, 0.5], [True, False, True]) == [
        (pytest.approx(1 / 3), 0.0),
        (1.0, pytest.approx(1 / 3)),
    ]


def test_the_area_is_the_mean_risk_over_coverages() -> None:
    assert aurc([0.9, 0.2, 0.8, 0.1], [True, False, True, False]) == pytest.approx(
        (0 + 0 + 1 / 3 + 1 / 2) / 4
    )


def test_a_constant_certainty_has_the_error_rate_in_any_order() -> None:
    assert aurc([0.5] * 4, [True, False, False, False]) == aurc([0.5] * 4, [False] * 3 + [True]) == 0.75


def test_the_worst_order_has_a_larger_area_than_the_best() -> None:
    right = [True] * 5 + [False] * 5
    assert aurc(list(range(10, 0, -1)), right) < 0.5 < aurc(list(range(10)), right)


def test_samples_are_the_area_of_what_each_resample_holds() -> None:
    clusters = Clusters("abc", draws=1, seed=b"area")
    clusters.counts[:] = [[1, 0, 2]]  # the first once, the last twice
    # In order of certainty: one right, then two wrong as a run of mean risk 2 · (1 · 1.5) / (1 + 1.5) / 3
    assert aurc_samples([0.9, 0.8, 0.7], [True, True, False], clusters) == pytest.approx([2 * 1.5 / 2.5 / 3])
    clusters.counts[:] = [[1, 1, 1]]
    assert np.allclose(aurc_samples([0.9, 0.8, 0.7], [True, True, False], clusters), 1 / 9)
