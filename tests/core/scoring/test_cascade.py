"""The threshold by hand, and its promise: the expected loss of a new item stays under the level."""

import numpy as np
import pytest

from stages.core.errors import LabError
from stages.core.scoring.cascade import ALWAYS_ASKS, NEVER_ASKS, order, passes, stops, threshold

LAST = [0.5] * 9


def test_the_most_accurate_on_average_is_asked_first_and_of_equals_the_first() -> None:
    assert order([[0.2, 0.9], [0.6, 0.7], [0.9, 0.3]]) == (1, 2, 0)
    assert order([[0.5], [0.5]]) == (0, 1)


def test_the_first_that_is_sure_enough_answers_else_the_last() -> None:
    certainty = [[0.9, 0.5, 0.1, None], [0.2, 0.9, 0.1, None], [0.0, 0.0, 0.0, None]]
    assert stops(certainty, 0.5) == (0, 1, 2, 0)
    assert stops(certainty, NEVER_ASKS) == (0, 0, 0, 0)
    assert stops([[1.0], [0.0]], ALWAYS_ASKS) == (1,)


def test_a_cascade_that_stops_twice_at_the_first_and_once_at_the_last_of_three_takes_five_thirds() -> None:
    assert passes((0, 0, 2)) == pytest.approx(5 / 3)


def test_the_threshold_lets_as_many_losses_through_as_the_level_allows() -> None:
    # nine items, the first parent wrong on three that the second gets right, at certainties .3, .6 and .8:
    # (losses + 1)/10 ≤ α, so α = .1 allows none (ask up to .8), .2 one, .3 two, .4 all three (never ask)
    first = [0.3, 0.6, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.2]
    wrong = [True] * 9
    right = [False] * 3 + [True] * 5 + [True]
    found = [threshold([first, LAST], [right, wrong], risk) for risk in (0.1, 0.2, 0.3, 0.4)]
    assert found == [0.8, 0.6, 0.3, NEVER_ASKS]


def test_too_few_items_for_the_level_always_ask_the_last() -> None:
    assert threshold([[0.9] * 9, LAST], [[True] * 9, [True] * 9], 0.05) == ALWAYS_ASKS


def test_a_wrong_answer_that_nobody_corrects_costs_nothing() -> None:
    assert threshold([[0.9] * 9, LAST], [[False] * 9, [False] * 9], 0.1) == NEVER_ASKS


def test_with_three_parents_a_right_answer_on_the_way_to_a_wrong_one_does_not_make_the_loss_fall() -> None:
    # the first is right below .4, the second wrong between .4 and .7, the third right above: loss 0, 1, 0
    certainty = [[0.4] * 9, [0.7] * 9, LAST]
    correct = [[True] * 9, [False] * 9, [True] * 9]
    assert threshold(certainty, correct, 0.1) == 0.7
    assert stops(certainty, 0.4) == (1,) * 9, "where it would have been wrong"


@pytest.mark.parametrize("risk", [0.0, 1.0])
def test_a_level_that_is_no_share_is_refused(risk: float) -> None:
    with pytest.raises(LabError, match="a risk between 0 and 1"):
        threshold([[0.5], [0.5]], [[True], [True]], risk)


@pytest.mark.parametrize(("items", "risk"), [(40, 0.05), (200, 0.1)])
def test_the_expected_loss_of_a_new_item_is_at_most_the_level_and_not_far_below(
    items: int, risk: float
) -> None:
    """1,500 studies: the first parent errs the more the less certain it is, the second on a tenth."""
    source = np.random.Generator(np.random.PCG64(7))
    studies, losses = 1500, []
    for _ in range(studies):
        sure = source.random(items + 1)
        first = source.random(items + 1) < 0.4 + 0.6 * sure
        second = source.random(items + 1) < 0.9
        seen = slice(0, items)
        found = threshold(
            [sure[seen].tolist(), [1.0] * items], [first[seen].tolist(), second[seen].tolist()], risk
        )
        losses.append(sure[-1] > found and second[-1] and not first[-1])
    error = np.sqrt(risk * (1 - risk) / studies)
    assert np.mean(losses) <= risk + 3 * error
    assert np.mean(losses) >= risk - 1 / (items + 1) - 3 * error
