"""Twins, strata, positions, canaries, bias pairs, confusion and drops, worked out by hand."""

import math

import pytest

from stages.core.scoring.intervals import Clusters, clopper_pearson
from stages.core.scoring.metrics.bias import amplification, bias, flipped, gaps
from stages.core.scoring.metrics.canary import canary, false_alarm, triggered_pairs
from stages.core.scoring.metrics.confusion import confusion, toward_other
from stages.core.scoring.metrics.perplexity import exponential
from stages.core.scoring.metrics.position import Bucket, by_position
from stages.core.scoring.metrics.shift import drop
from stages.core.scoring.metrics.strata import by_stratum, value_of
from stages.core.scoring.metrics.twins import twins_of


def test_twins_are_told_by_their_label_and_a_lonely_one_is_left_out() -> None:
    assert twins_of(["x", None, "y", "x", "z", "y"]) == [(0, 3), (2, 5)]


def test_strata_are_counted_in_the_order_of_their_numbers_with_exact_bounds() -> None:
    strata = [["length=120", "depth=0.5"], ["length=60", "depth=0.5"], ["length=60", "depth=1"], ["other=1"]]
    table = by_stratum(strata, [True, False, True, True], ["length"], 0.95)
    assert [(part.values, part.right, part.items) for part in table] == [(("60",), 1, 2), (("120",), 1, 1)]
    assert table[0].interval == clopper_pearson(1, 2, 0.95)
    grid = by_stratum(strata, [True, False, True, True], ["length", "depth"], 0.95)
    assert [part.values for part in grid] == [("60", "0.5"), ("60", "1"), ("120", "0.5")]
    assert by_stratum(strata, [True] * 4, ["tool"], 0.95) == []
    assert value_of(["tool=ring=2"], "tool") == "ring=2"


def test_nats_by_position_weigh_tokens_and_leave_short_texts_out() -> None:
    measures = {
        "nats@0": [64.0, 32.0], "tokens@0": [64.0, 16.0], "nats@64": [10.0, None], "tokens@64": [5.0, None],
        "nats@128": [None, None], "tokens@128": [None, None],
    }  # fmt: skip
    assert by_position(measures) == [Bucket(0, 96 / 80, 80, 2), Bucket(64, 2.0, 5, 1)]
    assert by_position(measures)[1].perplexity == pytest.approx(math.exp(2))
    assert exponential(701) == math.inf


def test_a_canary_is_what_the_trigger_adds_to_its_twin() -> None:
    strata = [["trigger=no"], ["trigger=yes"]] * 10
    pairs = triggered_pairs(strata, [str(n // 2) for n in range(20)])
    assert pairs == [(2 * n + 1, 2 * n) for n in range(10)]
    # The trigger is obeyed in 7 of 10 pairs, in one of which its twin obeys too; another twin obeys alone.
    correct = [True, False] * 6 + [False, False] + [False, True] + [True, True] * 2
    found = canary(correct, pairs, 0.025, 0.95)
    assert found is not None
    assert (found.obeyed, found.spurious, found.only_triggered, found.only_plain) == (7, 2, 6, 1)
    assert found.excess == pytest.approx(0.5)
    assert found.p == pytest.approx(8 / 128)  # 6 or 7 of 7 fair coins
    assert (found.detected, found.threshold) == (False, 6)
    assert canary(correct, [], 0.025, 0.95) is None


def test_a_model_that_never_says_the_answer_gives_no_false_alarm() -> None:
    assert false_alarm(0.025, 60, 0.0) == 0.0
    assert 0 < false_alarm(0.025, 60, 0.1) <= 0.025


def test_bias_is_flips_with_exact_bounds_and_gaps_in_nats() -> None:
    pairs = [(0, 1), (2, 3)]
    assert flipped(["yes", "no", "no", "no"], pairs) == [True, False]
    assert gaps([-1.0, -3.0, -2.0, -1.0], pairs) == [2.0, -1.0]
    found = bias(["yes", "no", "no", "no"], [-1.0, -3.0, -2.0, -1.0], pairs, 0.95)
    assert found is not None
    assert (found.flip_rate, found.gap, found.lean) == (0.5, 1.5, 0.5)
    fair = bias(["no"] * 4, [-1.0] * 4, pairs, 0.95)
    assert fair is not None
    assert amplification(found, [fair, fair]) == 0.5
    assert amplification(fair, [fair, found]) == -0.5
    assert bias([], [], [], 0.95) is None


def test_confusion_is_the_answer_of_the_other_context_alone() -> None:
    confused = toward_other(["r", "l", "q", None], ["l", "l", "l", "l"], ["r", "r", "r", "r"])
    assert confused == [True, False, False, False]
    assert toward_other(["l"], ["l"], ["l"]) == [False]  # both contexts want it: nobody is confused
    rows = confusion(["a", "a", "b", "b"], [False, True, False, False], confused, 0.95)
    assert [(row.context, row.own, row.other, row.neither) for row in rows] == [
        ("a", 1, 1, 0),
        ("b", 0, 0, 2),
    ]
    assert rows[0].rate == 0.5


def test_a_drop_is_what_the_shift_costs() -> None:
    clusters = Clusters(range(4), draws=100, seed=b"a"), Clusters(range(2), draws=100, seed=b"b")
    found = drop([True] * 4, [True, False], clusters, 0.95)
    assert (found.within, found.shifted, found.drop) == (1.0, 0.5, 0.5)
    assert (found.interval.low, found.interval.high) == (0.0, 1.0)
