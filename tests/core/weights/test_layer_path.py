"""Paths through layers: their grammar, the tensors they lead to, and everything they refuse."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.core.errors import BadRequest, Unmergeable
from stages.core.records import recipe as recipes
from stages.core.weights import engine, writer
from stages.core.weights.methods.layer_path import canonical
from stages.core.weights.registry import problems
from tests.core.weights.family import LABELS, Family, planned, recipe, values
from tests.core.weights.merging import assert_conforms
from tests.reference import data_flow

PICK = [{"match": "head.*", "value": 2}, {"match": "*", "value": 1}]


def model(seed: int, layers: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """A model with a matrix and a counter in each layer, an embedding and a head."""
    found = {
        "embed.weight": values(seed, (7, 5), 1.0, dtype),
        "head.weight": values(seed + 1, (7, 5), 1.0, dtype),
    }
    for layer in range(layers):
        found[f"model.layers.{layer}.up.weight"] = values(seed + 10 + layer, (5, 3), 1.0, dtype)
        found[f"model.layers.{layer}.steps"] = torch.tensor([100 * seed + layer])
    return found


@pytest.fixture
def made(tmp_path: Path) -> Family:
    """A parent of four layers and one of six."""
    found = Family(tmp_path / "family", {}, {})
    found.add(LABELS[1], model(1, 4))
    found.add(LABELS[2], model(2, 6))
    return found


def merged(made: Family, **parameters: Any) -> dict[str, Tensor]:
    parents = len(made.sources)
    plan = planned(made, recipe("layer_path", parents=parents, **parameters))
    return dict(engine.stream(plan, made.sources, made.manifests))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("1:0-8 2:4-12 1:8", "1:0-8 2:4-12 1:8"),
        ("  1:0-2\n1:2-5\t2:3-4 ", "1:0-5 2:3"),
        ("1:0 1:1 1:2", "1:0-3"),
        ("1:0 1:0", "1:0 1:0"),
        ("1:007", "1:7"),
        ("1:* 2:*", "1:* 2:*"),
        ("1:* 1:0", "1:* 1:0"),
        ("1:3 1:1 1:2", "1:3 1:1-3"),
    ],
)
def test_one_sequence_of_layers_has_one_spelling(written: str, kept: str) -> None:
    assert canonical(written, 2) == kept
    assert canonical(kept, 2) == kept


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "the path names no layers"),
        ("1:0-4,2:4-8", "'1:0-4,2:4-8' is no span: expected PARENT:LAYERS, such as 1:0-8, 2:5 or 1:*"),
        ("0:0-4", "'0:0-4' is no span"),
        ("1:-4", "'1:-4' is no span"),
        ("1:4-4", "'1:4-4' holds no layer"),
        ("1:4-2 x", "'1:4-2' holds no layer: its end is not included, and must be greater; 'x' is no span"),
        ("1:0 3:0-4 4:1", "'3:0-4' names parent 3 of 2; '4:1' names parent 4 of 2"),
        ("1:0-9000 2:0-9000", "the path names more than 10000 layers"),
        (68, "expected a text, got 68. Put it in quotes: YAML reads 1:8 as a number"),
    ],
)
def test_a_text_that_is_no_path_is_told(path: object, told: str) -> None:
    (found,) = problems("layer_path", {"path": path}, 2)
    assert found.startswith("layer_path.path: ")
    assert told in found


@pytest.mark.parametrize("wrong", [0, 3, 1.5, True, "1"])
def test_a_parent_that_is_not_there_is_told(wrong: object) -> None:
    told = f"expected the place of a parent, a whole number from 1 to 2, got {wrong!r}"
    assert problems("layer_path", {"outside": wrong}, 2) == [f"layer_path.outside: {told}"]
    assert problems("passthrough", {"donor": wrong}, 2) == [f"passthrough.donor: {told}"]


def test_layers_are_stacked_in_the_order_of_the_path_and_the_rest_comes_from_outside(made: Family) -> None:
    first, second = model(1, 4), model(2, 6)
    found = merged(made, path="1:0-2 2:1-3 1:0", outside=2)
    assert sorted(found) == sorted(
        ["embed.weight", "head.weight"]
        + [f"model.layers.{layer}.{rest}" for layer in range(5) for rest in ("up.weight", "steps")]
    )
    came_from = [(first, 0), (first, 1), (second, 1), (second, 2), (first, 0)]
    for number, (parent, layer) in enumerate(came_from):
        for rest in ("up.weight", "steps"):
            assert torch.equal(found[f"model.layers.{number}.{rest}"], parent[f"model.layers.{layer}.{rest}"])
    assert torch.equal(found["embed.weight"], second["embed.weight"])


def test_a_path_of_all_layers_gives_the_bytes_of_the_parent(made: Family, tmp_path: Path) -> None:
    for path in ("2:0-6", "2:*"):
        plan = planned(made, recipe("layer_path", path=path, outside=2))
        writer.preallocate(plan, tmp_path / path)
        engine.execute(plan, made.sources, made.manifests, tmp_path / path)
        found = dict(engine.stream(plan, made.sources))
        for name, tensor in model(2, 6).items():
            assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8))


def test_one_parent_alone_can_be_doubled(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[1], model(1, 4))
    found = merged(made, path="1:* 1:*")
    assert torch.equal(found["model.layers.6.up.weight"], model(1, 4)["model.layers.2.up.weight"])
    assert "model.layers.8.up.weight" not in found


def test_each_slot_has_its_own_scale(made: Family) -> None:
    """Five slots, five points: 1, 0.5, 0.25, 2, 0 for the matrices, and 1 for all else."""
    scale = [{"match": "*.up.weight", "layers": [1, 0.5, 0.25, 2, 0]}, {"match": "*", "value": 1}]
    found = merged(made, path="1:0-3 2:5 1:3", scale=scale)
    first, second = model(1, 4), model(2, 6)
    came_from = [(first, 0, 1.0), (first, 1, 0.5), (first, 2, 0.25), (second, 5, 2.0), (first, 3, 0.0)]
    for number, (parent, layer, factor) in enumerate(came_from):
        whole = parent[f"model.layers.{layer}.up.weight"] * factor  # powers of two: exact
        assert torch.equal(found[f"model.layers.{number}.up.weight"], whole)
    assert torch.equal(found["embed.weight"], first["embed.weight"])


def test_rules_may_take_the_head_from_another_parent(made: Family) -> None:
    found = merged(made, path="1:*", outside=PICK)
    assert torch.equal(found["head.weight"], model(2, 6)["head.weight"])
    assert torch.equal(found["embed.weight"], model(1, 4)["embed.weight"])


def test_a_rule_of_outside_for_a_layer_is_told_to_be_idle(made: Family) -> None:
    rules = [{"match": "*.up.weight", "value": 2}, {"match": "*", "value": 1}]
    with pytest.raises(BadRequest, match=r"outside: no tensor falls to the rule '\*\.up\.weight'"):
        planned(made, recipe("layer_path", outside=rules))


def test_every_layer_too_many_is_told_with_how_many_there_are(made: Family) -> None:
    with pytest.raises(BadRequest) as told:
        planned(made, recipe("layer_path", path="1:0-5 2:2-4 2:6 1:9"))
    assert told.value.problems == (
        "path: '1:0-5': parent 1 has 4 layers, 0 to 3",
        "path: '2:6': parent 2 has 6 layers, 0 to 5",
        "path: '1:9': parent 1 has 4 layers, 0 to 3",
    )


def test_a_model_without_layers_has_no_path(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[1], {"w": torch.ones(2)})
    with pytest.raises(BadRequest, match=r"path: '1:\*': parent 1 has no layers"):
        merged(made)


def test_every_tensor_in_which_a_layer_differs_from_the_first_is_listed(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[1], model(1, 2) | {"model.layers.1.bias": torch.ones(3)})
    made.add(LABELS[2], model(2, 1) | {"model.layers.0.up.weight": torch.ones(5, 4)})
    with pytest.raises(Unmergeable) as told:
        merged(made, path="1:0-2 2:0 2:0")
    assert str(told.value).splitlines() == [
        "2 tensors do not fit together:",
        "  bias: [3] in layer 1 of parent 1, missing in the first",
        "  up.weight: [5, 4] in layer 0 of parent 2, [5, 3] in the first",
        "Choose layers of one shape.",
    ]


def test_layers_that_the_path_leaves_out_may_have_any_shape(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[1], model(1, 3) | {"model.layers.2.up.weight": torch.ones(9)})
    assert len(planned(made, recipe("layer_path", parents=1, path="1:0-2")).slots) == 2


def test_stacks_of_other_names_or_of_one_depth_are_refused(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[1], model(1, 2))
    made.add(LABELS[2], {name.replace("model.", "other."): t for name, t in model(2, 2).items()})
    with pytest.raises(Unmergeable, match=r"parent 1: 'model\.layers\.', parent 2: 'other\.layers\.'"):
        merged(made, path="1:0 2:1")
    twice = Family(tmp_path / "twice", {}, {})
    twice.add(LABELS[1], {"encoder.0.w": torch.ones(1), "decoder.0.w": torch.ones(1)})
    with pytest.raises(Unmergeable, match=r"several stacks of 1 layers \('encoder\.', 'decoder\.'\)"):
        merged(twice)


def test_a_shallower_stack_is_outside_the_path(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[1], model(1, 3) | {"vision.0.w": torch.ones(2), "vision.1.w": torch.ones(3)})
    found = merged(made, path="1:2")
    assert {"vision.0.w", "vision.1.w"} < found.keys()
    assert [name for name in found if name.startswith("model.layers")] == [
        "model.layers.0.steps",
        "model.layers.0.up.weight",
    ]


def test_a_head_that_the_parent_outside_ties_is_refused(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    tied = {name: tensor for name, tensor in model(1, 2).items() if name != "head.weight"}
    made.add(LABELS[1], tied)
    made.add(LABELS[2], model(2, 2))
    with pytest.raises(Unmergeable) as told:
        merged(made, path="1:0 2:1")
    assert "  head.weight: outside takes it from parent 1; it is in parent 2" in str(told.value).splitlines()
    assert "head.weight" in merged(made, path="1:0 2:1", outside=PICK)
    both = Family(tmp_path / "both", {}, {})
    both.add(LABELS[1], tied)
    assert "head.weight" not in merged(both, path="1:0 1:1")


def test_a_type_that_cannot_be_merged_counts_only_where_it_is_used(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[1], model(1, 2))
    made.add(LABELS[2], model(2, 2) | {"model.layers.1.up.weight": torch.ones(5, 3).double()})
    assert merged(made, path="1:0 2:0")
    with pytest.raises(
        Unmergeable, match=r"model\.layers\.1\.up\.weight of parent 2: float64 cannot be merged"
    ):
        merged(made, path="1:0 2:1")


@pytest.mark.parametrize("output", ["float32", "bfloat16", "float16"])
def test_mixed_types_conform_to_the_reference(tmp_path: Path, output: str) -> None:
    made = Family(tmp_path, {}, {})
    states = [model(1, 4, torch.float32), model(2, 6, torch.bfloat16), model(3, 4, torch.float16)]
    for label, state in zip(LABELS[1:], states, strict=False):
        made.add(label, state)
    scales = [0.3, 1.7, -0.45, 0.9, 1.0]
    rules = [{"match": "model.layers.*", "layers": scales}, {"match": "*", "value": 1}]
    wanted = recipe("layer_path", parents=3, dtype=output, path="3:0 2:3-5 1:1-3", scale=rules, outside=2)
    arrays = [{n: t.double().numpy() for n, t in state.items() if t.is_floating_point()} for state in states]
    path = [(3, 0), (2, 3), (2, 4), (1, 1), (1, 2)]
    want = data_flow.layer_path(arrays, "model.layers.", path, scales, 2)
    found = dict(engine.stream(planned(made, wanted), made.sources, made.manifests))
    for name, array in want.items():
        assert_conforms(found[name], array, [array], output, ulps=3, what=name)
    assert [int(found[f"model.layers.{layer}.steps"]) for layer in range(5)] == [300, 203, 204, 101, 102]


def test_a_plan_tells_what_each_tensor_is_made_of(made: Family) -> None:
    plan = planned(made, recipe("layer_path", path="1:0-2 2:5 1:0"))
    assert plan.slots == ((0, 0), (0, 1), (1, 5), (0, 0))
    told = plan.describe()["tensors"]["model.layers.2.up.weight"]
    assert told["reads"] == [["parent 2", "model.layers.5.up.weight"]]
    files = sum((folder / "model.safetensors").stat().st_size for folder in made.sources.values())
    assert plan.bytes_read == files + 15 * 2 + 8, "layer 0 of parent 1 is read twice"
    other = planned(made, recipe("layer_path", path="1:0-2 2:4 1:0"))
    assert other.digest != plan.digest


def test_a_plan_of_tensors_under_their_own_names_shows_no_reads(made: Family, tmp_path: Path) -> None:
    alike = Family(tmp_path / "alike", {}, {})
    for label in LABELS[:3]:
        alike.add(label, {"w": torch.ones(3)})
    for method in ("linear", "ties"):
        assert "reads" not in planned(alike, recipe(method)).describe()["tensors"]["w"]


def test_a_recipe_keeps_the_canonical_path_through_json(made: Family) -> None:
    wanted = recipe("layer_path", path="1:0 1:1  2:3-4")
    assert wanted.parameters["path"] == "1:0-2 2:3"
    assert recipes.from_json(wanted.to_json()) == wanted
    assert recipe("layer_path", path="1:0-2 2:3").id == wanted.id
