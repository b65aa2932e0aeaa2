"""mergekit's gradients, filters and slices: the rules that they become, and every reason for a refusal."""

from pathlib import Path
from typing import Any

import pytest

from stages.merge.mergekit import translate
from stages.merge.recipe_file import Folders
from tests.merge.zoo import parameters, refusals, with_weights, written


@pytest.mark.parametrize(
    "setting",
    [0.5, [0.5], [0.5, 0.5, 0.5], [{"value": 0.5}], [{"filter": "mlp", "value": [0.5, 0.5]}, {"value": 0.5}],
     [{"filter": "*", "value": 0.5}, {"filter": "mlp", "value": 0.9}]],
)  # fmt: skip
def test_a_gradient_or_filter_that_changes_nothing_is_its_number(setting: Any, where: Folders) -> None:
    assert parameters("slerp.yml", where, parameters={"t": setting})["t"] == 0.5


def test_a_gradient_is_a_rule_over_layers_and_its_first_number_stands_outside_them(where: Folders) -> None:
    assert parameters("slerp.yml", where, parameters={"t": [0, 0.5, 1]})["t"] == [
        {"match": "*", "layers": [0, 0.5, 1], "outside": 0}
    ]


def test_a_filter_fits_wherever_mergekit_finds_it_whatever_a_pattern_would_make_of_its_letters(
    where: Folders,
) -> None:
    setting = [{"filter": "a[0]*", "value": 0.1}, {"value": 0.5}]
    assert parameters("slerp.yml", where, parameters={"t": setting})["t"] == [
        {"match": "*a[[]0][*]*", "value": 0.1},
        {"match": "*", "value": 0.5},
    ]


def test_where_no_filter_fits_mergekit_looks_on_in_the_next_place(where: Folders) -> None:
    tree = written("linear.yml", parameters={"weight": [{"filter": "up", "value": 2}, {"value": 3}]})
    tree["models"][0]["parameters"]["weight"] = [{"filter": "mlp.down", "value": 1}]
    del tree["models"][1]["parameters"]
    with_weights(where)
    assert translate(tree, where.find).tree["parameters"]["weights"] == [
        {"match": "*mlp.down*", "value": [1, 3]},
        {"match": "*up*", "value": [2, 2]},
        {"match": "*", "value": [3, 3]},
    ]


def test_a_filter_without_a_last_case_for_the_rest_is_refused(where: Folders) -> None:
    setting = [{"filter": "mlp", "value": 0.5}]
    (refusal,) = refusals(written("slerp.yml", parameters={"t": setting}), where)
    assert refusal == "parameters.t: no value for tensors without 'mlp'. Add a case without a filter"


def test_filters_that_overlap_are_translated_only_if_every_model_chooses_alike(where: Folders) -> None:
    """A tensor of mlp.up falls to `up` for the one model and to `mlp` for the other."""
    tree = written("linear.yml")
    tree["models"][0]["parameters"]["weight"] = [{"filter": "up", "value": 1}, {"value": 2}]
    tree["models"][1]["parameters"]["weight"] = [{"filter": "mlp", "value": 3}, {"value": 4}]
    (refusal,) = refusals(tree, where)
    assert refusal.startswith("models[1].parameters.weight: its filters are not those of the parameter befor")
    with_weights(where)
    (refusal,) = refusals(tree, where)
    assert "several filters fit 'model.layers.0.mlp.up_proj.weight', and not the same one" in refusal
    tree["models"][1]["parameters"]["weight"][0]["filter"] = "self_attn"
    assert translate(tree, where.find).tree["parameters"]["weights"] == [
        {"match": "*up*", "value": [1, 4]},
        {"match": "*self_attn*", "value": [2, 3]},
        {"match": "*", "value": [2, 4]},
    ]


def test_a_flag_that_would_differ_between_tensors_is_refused(where: Folders) -> None:
    flag = [{"filter": "mlp", "value": True}, {"value": False}]
    (refusal,) = refusals(written("ties.yml", parameters={"normalize": flag}), where)
    assert refusal.startswith("parameters.normalize: it cannot differ between tensors here")


def test_a_gradient_needs_to_know_how_many_layers_there_are(where: Folders, tmp_path: Path) -> None:
    for name in ("writer", "coder"):
        (tmp_path / name / "config.json").write_text('{"vocab_size": 3}')
    tree = written("nuslerp.yml")
    assert refusals(tree, where) == ("models[0].parameters.weight: cannot tell over how many layers it runs",)


def test_ranges_that_are_not_whole_models_are_refused_with_the_number_of_layers(where: Folders) -> None:
    tree = written("slerp.yml")
    sources = tree["slices"][0]["sources"]
    for source in sources:
        source["layer_range"] = [0, 3]
    first, second = refusals(tree, where)
    assert first.startswith("slices[0].sources[0].layer_range: expected 0 to all layers (4), got an end of 3")
    assert second.startswith("slices[0].sources[1].layer_range: expected 0 to all layers (4)")
    for source in sources:
        source["layer_range"] = [1, 4]
    assert refusals(tree, where)[0].startswith(
        "slices[0].sources[0].layer_range: expected layers from 0 on: only passthrough moves a layer"
    )
    sources[0]["layer_range"], sources[1]["layer_range"] = [0, 3], [1, 5]
    found = refusals(tree, where)
    assert found[0] == (
        "slices[0].sources[1].layer_range: expected layers of 0 to 4, the end not included, got [1, 5]"
    )
    assert found[1] == "slices[0].sources: the ranges differ in length; mergekit fails on it"


def test_slices_that_leave_out_a_model_or_a_layer_are_refused(where: Folders) -> None:
    tree = written("slerp-slices.yml")
    tree["slices"][1]["sources"][0]["model"] = "org/poet"
    tree["slices"][1]["sources"][1]["layer_range"] = [2, 4]
    found = refusals(tree, where)
    assert "slices[1].sources: expected the models of the first slice: all merge in every layer" in found


def test_slices_with_their_own_values_outside_the_layers_need_the_names_of_the_tensors(
    where: Folders,
) -> None:
    (refusal,) = refusals(written("slerp-slices.yml"), where)
    assert refusal.startswith("slices[1].parameters.t: tensors before the layers follow the first slice and")


def test_layers_of_one_model_alone_need_no_tensor_names(where: Folders) -> None:
    tree = {"merge_method": "passthrough", "models": [{"model": "org/writer", "parameters": {"scale": 0.5}}]}
    found = translate(tree, where.find).tree
    assert found["parents"] == ["org/writer"]
    assert found["parameters"] == {"path": "1:0-4", "outside": 1, "scale": 0.5}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "slices: tensors before the layers come from the first slice and those after them from the la"),
        ({"slices": [{"sources": [{"model": "org/writer", "layer_range": [0, 5]}]}]},
         "slices[0].sources[0].layer_range: expected layers of 0 to 4, the end not included, got [0, 5]"),
        ({"slices": [{"sources": [{"model": f"org/{n}", "layer_range": [0, 4]} for n in ("base", "poet")]}]},
         "slices[0].sources: passthrough takes one model; mergekit fails on more"),
        ({"slices": None, "models": [{"model": "org/writer"}], "base_model": "org/coder"},
         "base_model: mergekit adds it to the models, and passthrough then fails"),
        ({"slices": None, "models": [{"model": "org/writer", "parameters": {"weight": 1}}]},
         "models[0].parameters.weight: mergekit's passthrough makes no use of it"),
        ({"parameters": {"scale": [{"filter": "layers.2", "value": 0}, {"value": 1}]}},
         "parameters.scale: a filter with a layer's number means that of the source, which moves"),
    ],
)  # fmt: skip
def test_stacked_layers_that_have_no_path_are_refused_by_key(
    change: dict[str, Any], expected: str, where: Folders
) -> None:
    assert any(refusal.startswith(expected) for refusal in refusals(written("stacked.yml", **change), where))


def test_a_slice_may_say_again_what_the_document_says(where: Folders) -> None:
    tree = written("slerp.yml")
    plain = translate(tree, where.find)
    tree["slices"][0] |= {"base_model": "org/coder", "merge_method": "slerp"}
    assert translate(tree, where.find) == plain
    tree["slices"][0] |= {"base_model": "org/writer", "merge_method": "linear"}
    assert [refusal.split(":")[0] for refusal in refusals(tree, where)] == [
        "slices[0].base_model",
        "slices[0].merge_method",
    ]
