"""Gaps between splits, worked out by hand."""

import numpy as np
import pytest

from stages.core.scoring.metrics.gaps import Scores, gap, winners_curse


def scores(**values: float) -> dict[str, Scores]:
    return {name: Scores(value, np.full(100, value)) for name, value in values.items()}


def test_a_gap_is_counted_beyond_how_much_harder_the_hidden_draw_is() -> None:
    selection, hidden = scores(mine=0.9, a=0.8, b=0.8), scores(mine=0.7, a=0.75, b=0.65)
    found = gap("mine", selection, hidden, ("a", "b"), 0.95)
    assert found.gap == pytest.approx(0.2 - 0.1)  # the parents lose .05 and .15
    assert (found.interval.low, found.inflated, found.leaked) == (pytest.approx(0.1), True, False)


def test_what_is_better_on_hidden_cases_than_selection_allows_has_leaked() -> None:
    found = gap("mine", scores(mine=0.7, a=0.8), scores(mine=0.9, a=0.8), ("a",), 0.95)
    assert (found.leaked, found.inflated) == (True, False)


def test_the_winner_of_the_selection_split_is_the_first_of_equals() -> None:
    winner, flattered = winners_curse({"b": 0.9, "a": 0.9, "c": 0.1}, {"a": 0.8, "b": 0.5, "c": 0.9})
    assert (winner, flattered) == ("a", pytest.approx(0.1))
