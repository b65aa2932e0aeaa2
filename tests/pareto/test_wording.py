"""Numbers as people read them, and the walls of the terminal's start-up."""

import subprocess
import sys

import pytest

from stages.core.records.policy import EnsemblePolicy
from stages.pareto.measure import Number
from stages.pareto.report.pages import parameters, short
from stages.pareto.wording import (
    budget,
    cost,
    ordinal,
    p_value,
    passes,
    percent,
    percent_range,
    points,
    share,
    with_interval,
)

NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("value", "text"), [(0.314, "0.31"), (1, "1.00"), (-0.05, "−0.05"), (-0.001, "0.00")]
)
def test_a_share_has_two_decimals_and_no_minus_zero(value: float, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.826, "83"), (-0.2, "−20"), (-0.001, "0"), (1.5, "150")])
def test_percent_is_whole_and_never_broken_between_lines(value: float, text: str) -> None:
    assert percent(value) == f"{text}{NBSP}%"


def test_an_interval_names_its_unit_once() -> None:
    assert percent_range(0.71, 0.92) == f"71 to 92{NBSP}%"
    assert with_interval(Number(0.83, 0.71, 0.92)) == f"83{NBSP}% (71 to 92{NBSP}%)"


@pytest.mark.parametrize(("value", "text"), [(0.031, "+3"), (-0.118, "−12"), (0.004, "0"), (-0.004, "0")])
def test_points_are_signed_unless_zero(value: float, text: str) -> None:
    assert points(value) == text


@pytest.mark.parametrize(
    ("place", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")],
)
def test_places_are_ordinals(place: int, text: str) -> None:
    assert ordinal(place) == text


def test_passes_agree_in_number() -> None:
    assert (passes(1), passes(2)) == ("1 pass", "2 passes")


def test_a_cost_names_the_models_where_there_are_several() -> None:
    assert (cost(1, 1), cost(1.5, 2)) == ("1 pass", "1.5 passes with 2 models in memory")


def test_a_budget_names_both_of_its_sides() -> None:
    allowed = [EnsemblePolicy(margin=0, pass_budget=n, model_budget=n) for n in (1, 2)]
    assert budget(allowed[0]) == "1 pass and 1 model in memory"
    assert budget(allowed[1]) == "2 passes and 2 models in memory"


def test_rules_by_tensor_are_written_for_people() -> None:
    rules = [{"match": "*.mlp.*", "layers": [0.2, 1.0], "outside": 0.3}, {"match": "*", "value": 0.5}]
    assert parameters({"density": rules}) == "density *.mlp.*: 0.2 … 1, outside layers 0.3; *: 0.5"


def test_parameters_are_written_for_people() -> None:
    found = parameters({"density": 0.44140625, "weights": [0.5, 0.5], "normalise": True, "lambda": -1})
    assert found == "density 0.4414, weights 0.5 : 0.5, normalise True, lambda −1"
    assert short("0123456789abcdef") == "0123456789ab"


def test_the_terminal_table_starts_without_numerical_libraries() -> None:
    heavy = ("numpy", "scipy", "pandas", "altair", "torch")
    code = f"import sys, stages.pareto.terminal; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_p_value_has_two_digits_that_count_and_is_never_zero() -> None:
    assert [p_value(p) for p in (1.0, 0.0312, 0.00049, 7.63e-06, 0.0)] == [
        "1", "0.031", "0.00049", "7.6e-06", "< 1e-06",
    ]  # fmt: skip
