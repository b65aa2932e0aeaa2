"""Coefficients by tensor name and by layer: how they are read, and what they are worth where."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import BadRequest
from stages.core.records.recipe import Recipe, Rule, Rules, from_json, plain
from stages.core.weights import depth, engine, registry
from stages.core.weights.depth import Place
from tests.core.weights.family import LABELS, Family, planned, recipe, values

SHAPES = {
    "model.embed_tokens.weight": (11, 5),
    **{f"model.layers.{layer}.mlp.up.weight": (7, 5) for layer in range(5)},
    **{f"model.layers.{layer}.self_attn.q.weight": (5, 5) for layer in range(5)},
    "lm_head.weight": (11, 5),
}
UP = [f"model.layers.{layer}.mlp.up.weight" for layer in range(5)]
GRADED = [
    {"match": "*.mlp.*", "layers": [0.2, 1.0]},
    {"match": "lm_head.*", "value": 0.7},
    {"match": "*", "value": 0.5},
]


@pytest.fixture
def made(tmp_path: Path) -> Family:
    """A base and two fine-tunes of five layers."""
    found = Family(tmp_path / "family", {}, {})
    for member, label in enumerate(LABELS[:3]):
        tensors = {}
        for place, (name, shape) in enumerate(SHAPES.items()):
            base = values(place + 1, shape, 1.0, torch.float32)
            tensors[name] = base + (values(100 * member + place, shape, 0.1, torch.float32) if member else 0)
        found.add(label, tensors)
    return found


def merged(made: Family, wanted: Recipe) -> dict[str, torch.Tensor]:
    """Every tensor of a merge."""
    return dict(engine.stream(planned(made, wanted), made.sources, made.manifests))


def test_the_first_number_of_a_name_is_its_layer_in_the_stack_before_it() -> None:
    found = depth.places(["h.0.w", "h.11.w", "h.3.experts.7.w", "vision.2.w", "norm", "a1.w", "t.4"])
    assert found == {
        "h.0.w": Place(0, 12),
        "h.11.w": Place(11, 12),
        "h.3.experts.7.w": Place(3, 12),
        "vision.2.w": Place(2, 3),
        "norm": None,
        "a1.w": None,
        "t.4": Place(4, 5),
    }


@pytest.mark.parametrize(
    ("points", "layers", "expected"),
    [
        ([0.0, 1.0], 5, [0, 0.25, 0.5, 0.75, 1]),
        ([0.0, 1.0, 0.0], 5, [0, 0.5, 1, 0.5, 0]),
        ([1.0, 3.0], 2, [1, 3]),
        ([1.0, 3.0], 1, [1]),
        ([0.0, 1.0, 4.0], 4, [0, 2 / 3, 2, 4]),
    ],
)
def test_a_list_over_layers_is_drawn_with_straight_lines(
    points: list[float], layers: int, expected: list[float]
) -> None:
    listed = tuple((point,) for point in points)
    found = [depth.between(listed, Place(layer, layers))[0] for layer in range(layers)]
    assert found == pytest.approx(expected, abs=1e-15)


def test_rules_survive_the_canonical_record_and_read_as_they_were_written() -> None:
    wanted = recipe("task_arithmetic", scale=GRADED, weights=[{"match": "*", "layers": [1, [0.5, 2.0]]}])
    assert from_json(json.loads(json.dumps(wanted.to_json()))) == wanted
    assert plain(wanted.parameters["scale"]) == GRADED
    assert plain(wanted.parameters["weights"]) == [{"match": "*", "layers": [[1.0, 1.0], [0.5, 2.0]]}]
    assert str(wanted.parameters["scale"]) == "*.mlp.*: 0.2 … 1; lm_head.*: 0.7; *: 0.5"


def test_a_resolved_request_resolves_to_itself() -> None:
    once = registry.resolve("task_arithmetic", {"scale": GRADED, "lines": [0.1, 0.9, 0]}, 2)
    assert registry.resolve("task_arithmetic", once, 2) == once


def test_rules_change_the_identity_and_their_order_does() -> None:
    turned = [*GRADED[1::-1], GRADED[2]]
    ids = [recipe("task_arithmetic", scale=scale).digest for scale in (0.5, GRADED, turned)]
    assert len(set(ids)) == 3


def test_the_plan_shows_each_tensors_own_coefficients(made: Family) -> None:
    shown = planned(made, recipe("task_arithmetic", scale=GRADED, dtype="float32")).describe()
    scales = {
        name: float.fromhex(told["coefficients"]["shares"][0]) for name, told in shown["tensors"].items()
    }
    assert [scales[name] for name in UP] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], rel=1e-6)
    assert scales["lm_head.weight"] == pytest.approx(0.7)
    assert scales["model.layers.3.self_attn.q.weight"] == 0.5


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_linear", "breadcrumbs", "della"])
def test_each_tensor_is_merged_as_if_its_values_were_stated_for_all(made: Family, method: str) -> None:
    weights = [{"match": "*.mlp.*", "layers": [[1.0, 0.5], [0.2, 0.9]]}, {"match": "*", "value": 1.0}]
    key = {"ties": "density", "dare_linear": "drop", "breadcrumbs": "density", "della": "density"}.get(method)
    graded: dict[str, Any] = {"weights": weights, "scale": GRADED}
    if key:
        graded[key] = [{"match": "*.mlp.*", "layers": [0.2, 0.6]}, {"match": "*", "value": 0.4}]
    found = merged(made, recipe(method, dtype="float32", **graded))
    for layer in (0, 2, 4):
        part = layer / 4
        same: dict[str, Any] = {
            "weights": [1.0 + (0.2 - 1.0) * part, 0.5 + (0.9 - 0.5) * part],
            "scale": 0.2 + (1.0 - 0.2) * part,
            **({key: 0.2 + (0.6 - 0.2) * part} if key else {}),
        }
        want = merged(made, recipe(method, dtype="float32", **same))
        assert torch.equal(found[UP[layer]], want[UP[layer]])


def test_outside_is_the_value_of_tensors_in_no_layer(made: Family) -> None:
    scale = [{"match": "*", "layers": [0.2, 1.0], "outside": 0.7}]
    found = merged(made, recipe("task_arithmetic", dtype="float32", scale=scale))
    for value, name in ((0.2, UP[0]), (0.6, UP[2]), (0.7, "lm_head.weight")):
        same = merged(made, recipe("task_arithmetic", dtype="float32", scale=value))
        assert torch.equal(found[name], same[name])


def test_outside_is_part_of_the_record_and_of_the_identity() -> None:
    rules = [{"match": "*", "layers": [[0.2, 0.4], 1.0], "outside": 0.7}]
    wanted = recipe("task_arithmetic", weights=rules)
    assert from_json(json.loads(json.dumps(wanted.to_json()))) == wanted
    assert plain(wanted.parameters["weights"]) == [
        {"match": "*", "layers": [[0.2, 0.4], [1.0, 1.0]], "outside": [0.7, 0.7]}
    ]
    assert str(wanted.parameters["weights"]) == "*: 0.2, 0.4 … 1, 1, outside layers 0.7, 0.7"
    assert wanted.id != recipe("task_arithmetic", weights=[{**rules[0], "outside": 0.8}]).id


def test_one_rule_for_everything_gives_the_bytes_of_the_plain_number(made: Family) -> None:
    plainly = merged(made, recipe("ties", dtype="float32", density=0.3))
    ruled = merged(made, recipe("ties", dtype="float32", density=[{"match": "*", "value": 0.3}]))
    assert all(torch.equal(plainly[name], ruled[name]) for name in SHAPES)


def test_lines_scales_the_merged_delta_of_each_layer(made: Family) -> None:
    """a = 0.2, b = 0.8: the third of five layers moves by 0.2 + 0.8 * 2 / 4 = 0.6 of what it would."""
    options: dict[str, Any] = {"dtype": "float32", "scale": 1.0}
    whole = merged(made, recipe("task_arithmetic", **options))
    found = merged(made, recipe("task_arithmetic", lines=[0.2, 0.8, 0.0], **options))
    base = {n: values(p + 1, s, 1.0, torch.float32) for p, (n, s) in enumerate(SHAPES.items())}
    for layer, name in enumerate(UP):
        moved, would = found[name] - base[name], whole[name] - base[name]
        torch.testing.assert_close(moved, would * (0.2 + 0.2 * layer), rtol=1e-3, atol=1e-6)
    assert torch.equal(found["lm_head.weight"], base["lm_head.weight"])


@pytest.mark.parametrize(
    "method",
    [method.name for method in registry.METHODS if method.space == "delta" and method.name != "task_slerp"],
)
def test_lines_of_one_everywhere_change_no_byte_of_any_delta_method(made: Family, method: str) -> None:
    plainly = merged(made, recipe(method, dtype="float32"))
    lined = merged(made, recipe(method, dtype="float32", lines=[1.0, 0.0, 1.0]))
    assert all(torch.equal(plainly[name], lined[name]) for name in SHAPES)


def test_lines_equal_a_scale_over_layers_up_to_rounding(made: Family) -> None:
    rules = [{"match": "*.layers.*", "layers": [0.3, 0.9]}, {"match": "*", "value": 0.3}]
    ruled = merged(made, recipe("task_arithmetic", dtype="float32", scale=rules))
    lined = merged(made, recipe("task_arithmetic", dtype="float32", scale=1.0, lines=[0.3, 0.6, 0.3]))
    for name in SHAPES:
        torch.testing.assert_close(ruled[name], lined[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("method", "given", "problem"),
    [
        (
            "ties",
            {"density": [{"match": "*.mlp.*", "value": 0.1}]},
            "density: the last rule must have match '*'",
        ),
        ("ties", {"density": [{"match": "*", "value": 5}]}, "density: *: expected 0 to 1, got 5"),
        ("ties", {"density": [{"match": "*", "layers": [0.1]}]}, "density: *: layers: expected two or more"),
        ("ties", {"density": [{"match": "*", "value": 0.1, "outside": 0.1}]}, "density: expected {match, va"),
        (
            "ties",
            {"density": [{"match": "*", "layers": [0.1, 0.2], "outside": 3}]},
            "density: *: expected 0 to 1, got 3",
        ),
        (
            "ties",
            {"density": [{"mtch": "*", "value": 1}]},
            "density: expected {match, value} or {match, layers}",
        ),
        ("ties", {"density": [{"match": "*", "value": 1}, 2]}, "density: expected {match, value}"),
        (
            "ties",
            {"weights": [{"match": "*", "value": [1.0]}]},
            "weights: *: expected one number, or one for",
        ),
        ("ties", {"election": [{"match": "*", "value": "sum"}]}, "election: [{"),
        ("ties", {"lines": [1.0, 2.0]}, "lines: expected [a, b, factor outside layers]"),
        ("ties", {"lines": [1.0, 2.0, 11]}, "lines: expected -10 to 10, got 11"),
        ("linear", {"lines": [1.0, 2.0, 1.0]}, "lines is unknown"),
        (
            "ties",
            {"density": [{"match": "*", "value": [{"match": "*", "value": 1}]}]},
            "density: *: a rule cannot",
        ),
    ],
)
def test_rules_that_cannot_hold_are_problems_of_the_request(
    method: str, given: dict[str, Any], problem: str
) -> None:
    (found,) = registry.problems(method, given, 2)
    assert found.startswith(f"{method}.{problem}")


def test_rules_that_do_not_fit_the_tensors_are_all_told_before_anything_is_read(made: Family) -> None:
    scale = [
        {"match": "*.atention.*", "value": 0.2},
        {"match": "*.mlp.*", "value": 0.3},
        {"match": "*.up.*", "value": 0.4},
        {"match": "*", "layers": [0.5, 0.6]},
    ]
    with pytest.raises(BadRequest) as caught:
        planned(made, recipe("task_arithmetic", scale=scale))
    assert [problem[:58] for problem in caught.value.problems] == [
        "scale: no tensor falls to the rule '*.atention.*'. Correct",
        "scale: no tensor falls to the rule '*.up.*'. Correct it, o",
        "scale: 'lm_head.weight' stands in no layer, so the layers ",
        "scale: 'model.embed_tokens.weight' stands in no layer, so ",
    ]


def test_values_that_a_method_cannot_use_together_are_told_with_the_tensor(made: Family) -> None:
    density = [{"match": "*.mlp.*", "layers": [0.2, 1.0]}, {"match": "*", "value": 0.5}]
    with pytest.raises(BadRequest, match=r"model\.layers\.4\.mlp\.up\.weight: breadcrumbs\.density: 1 kept"):
        planned(made, recipe("breadcrumbs", density=density))


def test_rules_hold_a_point_per_rule_and_lines_are_left_out_unless_given() -> None:
    assert registry.resolve("linear", {"weights": [{"match": "*", "value": 2}]}, 2)["weights"] == Rules(
        (Rule("*", ((2.0, 2.0),)),)
    )
    assert "lines" not in registry.resolve("ties", {}, 2)
