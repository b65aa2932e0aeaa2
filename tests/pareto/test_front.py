"""Dominance, the line that steps down then right, and shares over resamples: worked by hand."""

import numpy as np
import pytest

from stages.pareto.front import dominates, dominates_all_share, non_dominated_share, staircase

# Four subjects on two niches, one resample:
#   a (.9, .3)  b (.6, .6)  c (.5, .5)  d (.3, .9): b dominates c; a, b, d are the front.
FOUR = {"a": (0.9, 0.3), "b": (0.6, 0.6), "c": (0.5, 0.5), "d": (0.3, 0.9)}


def one(*niches: float) -> np.ndarray:
    return np.array([niches])


def test_the_front_of_four_points_has_three_of_them_from_left_to_right() -> None:
    assert staircase(FOUR) == ["d", "b", "a"]


def test_the_line_of_equal_points_shows_the_smallest_id() -> None:
    assert staircase({"y": (0.5, 0.5), "x": (0.5, 0.5)}) == ["x"]


def test_a_point_below_another_at_equal_x_is_off_the_line() -> None:
    assert staircase({"low": (0.5, 0.4), "high": (0.5, 0.6)}) == ["high"]


def test_only_the_dominated_one_of_four_is_never_on_the_front() -> None:
    shares = non_dominated_share([one(*FOUR[name]) for name in "abcd"], [1, 1, 1, 1])
    assert shares == [1.0, 1.0, 0.0, 1.0]


def test_shares_do_not_depend_on_the_order_of_the_subjects() -> None:
    source = np.random.Generator(np.random.PCG64(3))
    samples = [source.random((50, 2)).round(1) for _ in range(6)]
    passes = [1, 1, 2, 1, 2, 1]
    forward = non_dominated_share(samples, passes)
    backward = non_dominated_share(samples[::-1], passes[::-1])
    assert forward == backward[::-1]


def test_equal_subjects_at_equal_cost_do_not_dominate_each_other() -> None:
    assert non_dominated_share([one(0.5, 0.5), one(0.5, 0.5)], [1, 1]) == [1.0, 1.0]


def test_equal_accuracy_for_fewer_passes_dominates() -> None:
    assert non_dominated_share([one(0.5, 0.5), one(0.5, 0.5)], [1, 2]) == [1.0, 0.0]


def test_an_ensemble_never_dominates_a_cheaper_merge() -> None:
    assert not dominates(one(0.9, 0.9), one(0.1, 0.1), (2, 1))[0]


def test_a_subject_on_the_front_in_two_of_three_resamples_has_a_share_of_two_thirds() -> None:
    mine = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    other = np.array([[0.4, 0.6], [0.6, 0.6], [0.5, 0.5]])  # dominates in the second resample alone
    assert non_dominated_share([mine, other], [1, 1])[0] == pytest.approx(2 / 3)


def test_dominating_both_parents_counts_resamples_that_beat_all_of_them() -> None:
    mine = np.array([[0.9, 0.9], [0.9, 0.2]])
    parents = [np.array([[0.8, 0.3], [0.8, 0.3]]), np.array([[0.3, 0.9], [0.3, 0.1]])]
    assert dominates_all_share(mine, parents) == 0.5  # the second resample loses to the first parent's .3


def test_three_niches_are_compared_on_all_three() -> None:
    shares = non_dominated_share([one(0.5, 0.5, 0.9), one(0.6, 0.6, 0.8), one(0.5, 0.5, 0.8)], [1, 1, 1])
    assert shares == [1.0, 1.0, 0.0]


def test_a_router_in_one_pass_dominates_no_merge_because_it_keeps_two_models_in_memory() -> None:
    assert non_dominated_share([one(0.9, 0.9), one(0.1, 0.1)], [1, 1], [2, 1]) == [1.0, 1.0]


def test_a_merge_as_good_as_a_router_dominates_it_for_fewer_models() -> None:
    assert non_dominated_share([one(0.5, 0.5), one(0.5, 0.5)], [1, 1], [2, 1]) == [0.0, 1.0]
