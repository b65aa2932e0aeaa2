"""mergekit's YAML as users write it: what it becomes here, and every reason for a refusal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.core.errors import BadRequest
from stages.core.weights import registry
from stages.merge.mergekit import rows, translate
from stages.merge.mergekit.rows import SLERP_CHORD_RAD
from stages.merge.recipe_file import Folders

RECIPES = Path(__file__).parent / "recipes"
WEIGHTED = {"models": [{"model": "org/writer"}, {"model": "org/coder"}], "parameters": {"weight": 0.5}}
PARENTS = ["org/writer", "org/coder"]


@pytest.fixture
def where(tmp_path: Path) -> Folders:
    """org/base, org/writer and org/coder: four layers and three tokens with a row each."""
    found = {}
    for name in ("base", "writer", "coder"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 4, "vocab_size": 3}))
        tokenizer = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<s>"}]}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        found[f"org/{name}"] = folder
    return Folders(tmp_path, found)


def written(name: str, **changes: Any) -> dict[str, Any]:
    """A fixture file with top-level keys changed; a key set to None is left out."""
    tree = yaml.safe_load((RECIPES / name).read_text()) | changes
    return {key: value for key, value in tree.items() if value is not None}


def parameters(name: str, where: Folders, **changes: Any) -> Mapping[str, Any]:
    found = translate(written(name, **changes), where.find).tree["parameters"]
    assert isinstance(found, dict)
    return found


def refusals(tree: Mapping[str, Any], where: Folders) -> tuple[str, ...]:
    with pytest.raises(BadRequest, match=":") as refused:
        translate(tree, where.find)
    return refused.value.problems


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "linear.yml",
            {
                "method": "linear",
                "parents": PARENTS,
                "parameters": {"weights": [1.0, 0.3], "normalise": True},
                "output_dtype": "float16",
            },
        ),
        (
            "slerp.yml",
            {
                "method": "slerp",
                "parents": PARENTS[::-1],
                "parameters": {"t": 0.35, "chord_below_rad": SLERP_CHORD_RAD},
                "output_dtype": "bfloat16",
            },
        ),
        (
            "task-arithmetic.yml",
            {
                "method": "task_arithmetic",
                "parents": PARENTS,
                "base": "org/base",
                "parameters": {"weights": [0.8, -0.2], "normalise": False, "scale": 0.9},
                "output_dtype": "bfloat16",
            },
        ),
        (
            "ties.yml",
            {
                "method": "ties",
                "parents": PARENTS,
                "base": "org/base",
                "parameters": {
                    "weights": [0.4, 0.3],
                    "density": 0.53,
                    "divisor": "surviving_weights",
                    "scale": 1.0,
                },
                "output_dtype": "bfloat16",
            },
        ),
        (
            "dare-linear.yml",
            {
                "method": "dare_linear",
                "parents": PARENTS,
                "base": "org/base",
                "parameters": {
                    "weights": [0.5, 0.5],
                    "drop": 0.1,
                    "rescale": "l1",
                    "normalise": False,
                    "scale": 1.0,
                },
                "output_dtype": "bfloat16",
            },
        ),
        (
            "dare-ties.yml",
            {
                "method": "dare_ties",
                "parents": PARENTS,
                "base": "org/base",
                "parameters": {
                    "weights": [0.4, 0.3],
                    "drop": 0.47,
                    "rescale": "l1",
                    "divisor": "surviving_weights",
                    "scale": 1.0,
                },
                "output_dtype": "bfloat16",
            },
        ),
    ],
)
def test_a_file_becomes_the_recipe_worked_out_by_hand(
    name: str, expected: Mapping[str, Any], where: Folders
) -> None:
    assert translate(written(name), where.find).tree == expected


@pytest.mark.parametrize("name", ["linear.yml", "slerp.yml", "ties.yml", "dare-linear.yml", "dare-ties.yml"])
def test_a_translated_recipe_is_one_that_the_registry_takes(name: str, where: Folders) -> None:
    tree = translate(written(name), where.find).tree
    assert not registry.problems(tree["method"], tree["parameters"], len(tree["parents"]))


def test_every_parameter_of_a_row_is_read_by_a_rule() -> None:
    for row in rows.ROWS.values():
        read = [name for rule in row.rules for name in rule.reads]
        assert sorted(dict.fromkeys(read)) == sorted([*row.per_model, *row.shared])
        assert row.ours in registry.BY_NAME


def test_t_counts_from_base_model_wherever_it_is_listed(where: Folders) -> None:
    for base, other in (PARENTS, PARENTS[::-1]):
        assert translate(written("slerp.yml", base_model=base), where.find).tree["parents"] == [base, other]


def test_a_model_s_own_parameter_wins_over_the_slice_s_and_that_over_the_global_one(where: Folders) -> None:
    sources = [
        {"model": "org/writer", "layer_range": [0, 4], "parameters": {"weight": 0.1}},
        {"model": "org/coder", "layer_range": [0, 4]},
    ]
    tree = {
        "merge_method": "linear",
        "slices": [{"sources": sources, "parameters": {"weight": 0.2}}],
        "parameters": {"weight": 0.3},
    }
    assert translate(tree, where.find).tree["parameters"]["weights"] == [0.1, 0.2]
    del tree["slices"][0]["parameters"]  # type: ignore[index]
    assert translate(tree, where.find).tree["parameters"]["weights"] == [0.1, 0.3]


@pytest.mark.parametrize(
    "setting",
    [0.5, [0.5], [0.5, 0.5, 0.5], [{"value": 0.5}], [{"filter": "mlp", "value": [0.5, 0.5]}, {"value": 0.5}],
     [{"filter": "*", "value": 0.5}, {"filter": "mlp", "value": 0.9}]],
)  # fmt: skip
def test_a_gradient_or_filter_that_changes_nothing_is_its_number(setting: Any, where: Folders) -> None:
    assert parameters("slerp.yml", where, parameters={"t": setting})["t"] == 0.5


def test_a_gradient_over_layers_is_refused_by_key(where: Folders) -> None:
    (refusal,) = refusals(written("slerp.yml", parameters={"t": [0, 0.5, 1]}), where)
    assert refusal == "parameters.t: gradients over layers are not supported yet. Write one number"


def test_the_classic_gradient_slerp_is_refused_at_its_first_filter(where: Folders) -> None:
    assert refusals(written("gradient-slerp.yml"), where) == (
        "parameters.t: gradients over layers are not supported yet. Write one number",
    )


def test_filters_and_gradients_of_several_models_are_refused_at_once(where: Folders) -> None:
    assert refusals(written("gradient-ties.yml"), where) == (
        "models[1].parameters.weight: values by tensor name (filter) are not supported yet. Write one number",
        "models[0].parameters.density: gradients over layers are not supported yet. Write one number",
    )


def test_a_filter_without_a_last_case_for_the_rest_is_refused(where: Folders) -> None:
    setting = [{"filter": "mlp", "value": 0.5}]
    (refusal,) = refusals(written("slerp.yml", parameters={"t": setting}), where)
    assert "by tensor name (filter) are not supported yet" in refusal


def test_stacked_layers_and_their_method_are_refused_together(where: Folders) -> None:
    method, slices = refusals(written("stacked.yml"), where)
    assert method.startswith("merge_method: 'passthrough' is not supported yet (one of: linear, slerp")
    assert slices == "slices: expected one slice; stacking layers of several is not supported yet"


def test_a_range_that_is_not_the_whole_model_is_refused_with_the_number_of_layers(where: Folders) -> None:
    tree = written("slerp.yml")
    tree["slices"][0]["sources"][1]["layer_range"] = [0, 3]
    (refusal,) = refusals(tree, where)
    assert refusal.startswith("slices[0].sources[1].layer_range: expected 0 to all layers (4), got [0, 3]")


def test_a_model_that_is_no_folder_is_refused_with_the_way_to_name_one(where: Folders) -> None:
    (refusal,) = refusals(written("linear.yml") | {"base_model": "mistralai/Mistral-7B-v0.1"}, where)[:1]
    assert refusal.startswith("base_model: no folder 'mistralai/Mistral-7B-v0.1' here, and nothing is downl")
    assert refusal.endswith("--models mistralai/Mistral-7B-v0.1=FOLDER")


def test_an_adapter_after_a_plus_is_refused(where: Folders) -> None:
    tree = WEIGHTED | {"merge_method": "linear", "models": [{"model": "org/writer+org/lora"}]}
    assert "models[0].model: the adapter 'org/lora' is not applied here" in "\n".join(refusals(tree, where))


def test_misspelt_keys_that_mergekit_takes_in_silence_are_refused_with_the_nearest(where: Folders) -> None:
    tree = written("ties.yml", dtipe="float16", parameters={"normalise": True, "lamda": 1.0})
    tree["models"][1]["parameters"]["densty"] = 0.4
    found = refusals(tree, where)
    assert found[0].startswith("dtipe: mergekit ignores this key; did you mean 'dtype'?")
    assert found[1].startswith("parameters.normalise: mergekit's ties makes no use of it; did you mean 'norm")
    assert found[2].startswith("parameters.lamda: mergekit's ties makes no use of it; did you mean 'lambda'?")
    assert found[3].startswith("models[1].parameters.densty: mergekit's ties makes no use of it; did you me")
    assert len(found) == 4


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"density": 0.5}, "density: mergekit ignores it here. Move it under parameters"),
        ({"parameters": {"dtype": "bfloat16"}}, "parameters.dtype: mergekit reads it at the top level only"),
        ({"random_seed": 0}, "random_seed: mergekit ignores it: its seed is an option of the command"),
        ({"chat_template": "auto"}, "chat_template: the template is not changed"),
        ({"tokenizer_source": "union"}, "tokenizer_source: expected 'base': all models must share one"),
        ({"tokenizer": {}}, "tokenizer.source: expected 'base': all models must share one tokenizer"),
        ({"tokenizer": {"source": "base", "pad_to_multiple_of": 8}}, "tokenizer.pad_to_multiple_of: embed"),
        ({"dtype": "int64"}, "dtype: expected one of float32, bfloat16, float16, got 'int64'"),
        ({"dtype": "bfloat16", "out_dtype": "float32"}, "dtype: bfloat16 asks for arithmetic in bfloat16"),
        ({"base_model": None}, "base_model: missing: ties needs it"),
        ({"merge_method": "tie"}, "merge_method: 'tie' is not supported yet; did you mean 'ties'?"),
        ({"merge_method": "della"}, "merge_method: 'della' is not supported yet"),
        ({"modules": {"text": {}}}, "modules: merges of several modules are not supported yet"),
        ({"models": None}, "models: expected exactly one of models and slices"),
        ({"parameters": {"rescale": True}}, "parameters.rescale: ties with rescaling is not supported yet"),
        ({"parameters": {"int8_mask": "yes"}}, "parameters.int8_mask: expected true or false, got 'yes'"),
        ({"parameters": {"lambda": "1"}}, "parameters.lambda: expected a number, got '1'"),
        ({"parameters": {"lambda": {"value": 1}}}, "parameters.lambda: expected a number or a list of cases"),
        ({"parameters": [0.5]}, "parameters: expected a map, got '[0.5]'"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_by_key(
    change: dict[str, Any], expected: str, where: Folders
) -> None:
    assert any(refusal.startswith(expected) for refusal in refusals(written("ties.yml", **change), where))


def test_densities_that_differ_between_models_are_refused(where: Folders) -> None:
    tree = written("ties.yml")
    tree["models"][2]["parameters"]["density"] = 0.7
    (refusal,) = refusals(tree, where)
    assert refusal.startswith(
        "models[1].parameters.density: one density for all models is supported so far, "
    )


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (
            {"merge_method": "ties", "base_model": "org/base", **WEIGHTED, "parameters": {"density": 0.5}},
            "models[0].parameters.weight: missing",
        ),
        ({"merge_method": "slerp", "base_model": "org/writer", "models": WEIGHTED["models"]},
         "parameters.t: missing"),
        (
            {"merge_method": "slerp", "base_model": "org/base", "models": WEIGHTED["models"],
             "parameters": {"t": 0.5}},
            "models: slerp takes 2 parents, got 3",
        ),
        (
            {"merge_method": "slerp", "base_model": "org/writer", "models": [
                {"model": "org/writer"}, {"model": "org/coder", "parameters": {"t": 0.5}}]},
            "models[1].parameters.t: mergekit reads it for the whole merge only",
        ),
        ({"merge_method": "ties", "base_model": "org/base", **WEIGHTED,
          "parameters": {"weight": 0.5, "density": 5}},
         "parameters.density: expected a share above 0 and at most 1, got 5"),
        ({"merge_method": "ties", "base_model": "org/base", **WEIGHTED, "parameters": {"weight": -1}},
         "ties.weights: expected 0 to 10, got -1"),
        ({"merge_method": "linear", "models": [{"model": "org/writer"}, {"model": "org/writer"}]},
         "models[1].model: 'org/writer' is listed twice"),
        ({"merge_method": "linear", "models": ["org/writer"]}, "models[0]: expected a map with the key"),
        ({"merge_method": "linear", "models": 3}, "models: expected a list of models, got '3'"),
    ],
)  # fmt: skip
def test_what_mergekit_itself_would_fail_on_or_misread_is_refused(
    tree: dict[str, Any], expected: str, where: Folders
) -> None:
    assert any(refusal.startswith(expected) for refusal in refusals(tree, where))


def test_linear_merges_an_unlisted_base_as_mergekit_does_and_takes_its_tokenizer(where: Folders) -> None:
    tree = {"merge_method": "linear", "base_model": "org/base", **WEIGHTED}
    found = translate(tree, where.find).tree
    assert found["parents"] == [*PARENTS, "org/base"]
    assert found["base"] == "org/base"
    assert found["parameters"]["weights"] == [0.5, 0.5, 0.5]


def test_linear_with_an_unlisted_base_and_no_weight_for_it_is_refused(where: Folders) -> None:
    (refusal,) = refusals(written("linear.yml", base_model="org/base"), where)
    assert refusal.startswith("base_model: mergekit's linear merges it as well")


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_an_undivided_sum_is_translated_if_our_method_offers_it_and_refused_if_not(
    method: str, where: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = {"merge_method": method, "base_model": "org/base", **WEIGHTED}
    tree["parameters"] = {"weight": 0.5, "normalize": False}
    monkeypatch.setattr(rows, "_offers", lambda *names: False)
    (refusal,) = refusals(tree, where)
    assert refusal.startswith(
        f"parameters.normalize: false leaves the agreeing sum undivided, and our {method}"
    )
    monkeypatch.setattr(rows, "_offers", lambda *names: True)
    found, none = rows.apply(rows.ROWS[method], {"normalize": 0.0})
    assert (found, none) == ({"divisor": "none"}, [])


def test_dare_ties_does_not_normalise_by_default_and_the_refusal_says_that_it_was_left_out(
    where: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_offers", lambda *names: False)
    (refusal,) = refusals(written("dare-ties.yml", parameters={"int8_mask": True}), where)
    assert refusal.startswith("parameters.normalize (left out): false leaves the agreeing sum undivided")


def test_dropping_nothing_needs_no_rescaling(where: Folders) -> None:
    settings = {"weight": 1.0, "density": 1.0, "rescale": False}
    found = parameters("dare-linear.yml", where, parameters=settings)
    assert (found["drop"], found["rescale"]) == (0.0, "paper")


def test_parameters_of_the_base_are_without_effect_and_said_to_be(where: Folders) -> None:
    tree = written("ties.yml")
    tree["models"][0]["parameters"] = {"weight": 0.9}
    found = translate(tree, where.find)
    assert found.tree["parents"] == PARENTS
    assert "models[0].parameters: without effect: the base has no task vector" in found.notes


def test_a_tokenizer_with_fewer_tokens_than_rows_would_cut_the_embeddings_and_is_refused(
    where: Folders, tmp_path: Path
) -> None:
    (tmp_path / "base/config.json").write_text('{"vocab_size": 8}')
    (refusal,) = refusals(written("dare-linear.yml"), where)
    assert refusal.startswith("tokenizer_source: mergekit would cut the embeddings from 8 rows to 3")


@pytest.mark.parametrize(
    ("types", "output", "noted"),
    [
        ({"dtype": "bfloat16"}, "bfloat16", True),
        ({"dtype": "bfloat16", "out_dtype": "bfloat16"}, "bfloat16", True),
        ({"dtype": "float32"}, "float32", False),
        ({"dtype": "float32", "out_dtype": "bfloat16"}, "bfloat16", False),
        ({"dtype": None, "out_dtype": "float16"}, "float16", True),
        ({"dtype": None}, None, True),
    ],
)
def test_the_output_has_the_type_asked_for_and_the_arithmetic_is_noted_where_it_differs(
    types: dict[str, Any], output: str | None, noted: bool, where: Folders
) -> None:
    found = translate(written("linear.yml", base_model="org/writer", **types), where.find)
    assert found.tree.get("output_dtype") == output
    assert any("here in float32" in note for note in found.notes) == noted


def test_masks_are_said_to_differ(where: Folders) -> None:
    assert (
        "the entries dropped cannot be the same" in translate(written("dare-ties.yml"), where.find).notes[0]
    )
