"""Requests for methods: everything wrong is told, everything left out is filled in."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.core.errors import BadRequest
from stages.core.records.recipe import Rule, Rules, plain
from stages.core.weights.registry import BY_NAME, METHODS, get, problems, resolve

CONF = Path(__file__).parents[3] / "conf" / "method"


def test_names_are_unique_and_one_configuration_file_belongs_to_each() -> None:
    assert len(BY_NAME) == len(METHODS)
    assert {path.stem for path in CONF.glob("*.yaml")} == set(BY_NAME)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_configuration_states_version_source_and_every_default(method: Any) -> None:
    tree = yaml.safe_load((CONF / f"{method.name}.yaml").read_text())
    assert list(tree) == [method.name]
    stated = tree[method.name]
    assert (stated.pop("version"), stated.pop("source")) == (method.version, method.source)
    assert list(stated) == [parameter.name for parameter in method.parameters]
    for parameter in method.parameters:
        assert stated[parameter.name].pop("value") == parameter.default
        low_high = stated[parameter.name].pop("search", [parameter.low, parameter.high])
        assert parameter.low <= low_high[0] <= low_high[1] <= parameter.high
        assert not stated[parameter.name], "only value and search"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("parents", [2, 3, 16])
def test_defaults_alone_are_a_request_without_problems(method: Any, parents: int) -> None:
    if parents <= method.parents[1]:
        assert problems(method.name, {}, parents) == []
        assert problems(method.name, resolve(method.name, {}, parents), parents) == []


def test_an_unknown_method_is_told_with_the_nearest_name() -> None:
    assert problems("tied", {}, 2) == ["method 'tied' is unknown. Did you mean 'ties'?"]
    with pytest.raises(BadRequest, match=r"method 'zipit' is unknown\. Known: linear, slerp"):
        get("zipit")


def test_every_problem_is_told_at_once() -> None:
    given = {"densty": 0.2, "scale": "big", "election": "sun", "weights": [1.0], "divisor": 3}
    assert problems("ties", given, 2) == [
        "ties.densty is unknown. Did you mean 'density'?",
        "ties.weights: expected one number, or one for each of 2 parents, got 1",
        "ties.scale: expected a number, got 'big'",
        "ties.election: 'sun' is no choice. Did you mean 'sum'?",
        "ties.divisor: 3 is no choice. Known: surviving_weights, count, none",
    ]


@pytest.mark.parametrize(
    ("method", "given", "parents", "problem"),
    [
        ("slerp", {}, 3, "slerp takes 2 parents, got 3"),
        ("linear", {}, 1, "linear takes 2 to 64 parents, got 1"),
        ("ties", {"density": 5}, 2, "ties.density: expected 0 to 1, got 5"),
        ("ties", {"density": float("nan")}, 2, "ties.density: expected a number, got nan"),
        ("ties", {"density": True}, 2, "ties.density: expected a number, got True"),
        ("linear", {"normalise": 1}, 2, "linear.normalise: expected true or false, got 1"),
        ("linear", {"weights": [1.0, float("inf")]}, 2, "linear.weights: expected a number, got inf"),
        ("linear", {"weights": [1.0, -1.0]}, 2, "linear.weights: [1.0, -1.0] sum to zero"),
        ("linear", {"weights": 0, "normalise": False}, 2, "linear.weights: all are zero"),
        ("ties", {"weights": [0, 0]}, 2, "ties.weights: all are zero"),
        ("ties", {"weights": [1, -1]}, 2, "ties.weights: expected 0 to 10, got -1"),
        ("dare_ties", {"drop": 1.0}, 2, "dare_ties.drop: expected 0 to 0.999, got 1"),
    ],
)
def test_what_a_method_cannot_do_is_a_problem(
    method: str, given: dict[str, Any], parents: int, problem: str
) -> None:
    (found,) = problems(method, given, parents)
    assert found.startswith(problem)
    with pytest.raises(BadRequest):
        resolve(method, given, parents)


def test_one_or_each_keeps_one_number_one_and_a_list_of_equals_becomes_it() -> None:
    for given in (0.3, [0.3, 0.3], (0.3, 0.3)):
        assert resolve("ties", {"density": given}, 2)["density"] == 0.3
    assert resolve("ties", {"density": [0.3, 0.4]}, 2)["density"] == (0.3, 0.4)
    assert problems("ties", {"density": [0.3, 0.4, 0.5]}, 2) == [
        "ties.density: expected one number, or one for each of 2 parents, got 3"
    ]


def test_points_of_one_rule_are_spread_alike_and_resolve_to_themselves() -> None:
    rules = [{"match": "*", "layers": [0.5, [0.2, 0.4]]}]
    once = resolve("ties", {"density": rules}, 2)
    assert once["density"] == Rules((Rule("*", ((0.5, 0.5), (0.2, 0.4))),))
    assert resolve("ties", {"density": plain(once["density"])}, 2) == once


def test_resolving_spreads_one_number_over_the_parents_and_makes_floats() -> None:
    assert resolve("task_arithmetic", {"scale": 1}, 3) == {
        "weights": (1.0, 1.0, 1.0),
        "scale": 1.0,
        "normalise": False,
    }
    assert resolve("linear", {"weights": [1, -0.0]}, 2)["weights"] == (1.0, 0.0)
    assert str(resolve("slerp", {"t": -0.0}, 2)["t"]) == "0.0"
