"""mergekit's YAML as users write it: what it becomes here, and every reason for a refusal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.core.weights import registry
from stages.merge.mergekit import rows, translate
from stages.merge.mergekit.rows import SLERP_CHORD_RAD
from stages.merge.recipe_file import Folders
from tests.merge.zoo import PARENTS, RECIPES, ZOO, parameters, refusals, with_weights, written

WEIGHTED = {"models": [{"model": "org/writer"}, {"model": "org/coder"}], "parameters": {"weight": 0.5}}


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
        *ZOO,
    ],
)
def test_a_file_becomes_the_recipe_worked_out_by_hand(
    name: str, expected: Mapping[str, Any], where: Folders
) -> None:
    with_weights(where)
    assert translate(written(name), where.find).tree == expected


@pytest.mark.parametrize("name", [path.name for path in sorted(RECIPES.glob("*.yml"))])
def test_a_translated_recipe_is_one_that_the_registry_takes(name: str, where: Folders) -> None:
    with_weights(where)
    tree = translate(written(name), where.find).tree
    assert not registry.problems(tree["method"], tree["parameters"], len(tree["parents"]))


def test_every_parameter_of_a_row_is_read_by_a_rule_and_no_method_is_both_taken_and_refused() -> None:
    assert not rows.ROWS.keys() & rows.REFUSED.keys()
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
        ({"chat_template": "chatml"}, "chat_template: the template is not changed"),
        ({"tokenizer_source": "org/coder"}, "tokenizer_source: expected 'base': all models must share one"),
        ({"tokenizer": {"source": 3}}, "tokenizer.source: expected 'base': all models must share one tok"),
        ({"tokenizer": {"source": "base", "pad_to_multiple_of": 8}}, "tokenizer.pad_to_multiple_of: embed"),
        ({"dtype": "int64"}, "dtype: expected one of float32, bfloat16, float16, got 'int64'"),
        ({"dtype": "bfloat16", "out_dtype": "float32"}, "dtype: bfloat16 asks for arithmetic in bfloat16"),
        ({"base_model": None}, "base_model: missing: ties needs it"),
        ({"merge_method": "tie"}, "merge_method: 'tie' is not supported yet; did you mean 'ties'?"),
        ({"merge_method": "sce"}, "merge_method: 'sce' has no exact counterpart: mergekit weighs all model"),
        ({"merge_method": "breadcrumbs_ties"}, "merge_method: 'breadcrumbs_ties' has no exact counterpart"),
        ({"modules": {"text": {}}}, "modules: merges of several modules are not supported yet"),
        ({"models": None}, "models: expected exactly one of models and slices"),
        ({"parameters": {"rescale": True}}, "parameters.rescale: what is kept is rescaled in dare and della"),
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


def test_a_union_of_tokenizers_is_taken_where_they_are_one_and_refused_where_not(
    where: Folders, tmp_path: Path
) -> None:
    for change in ({"tokenizer_source": "union"}, {"tokenizer": {}}):
        assert translate(written("ties.yml", **change), where.find).tree["base"] == "org/base"
    vocabulary = {"model": {"vocab": {"b": 0, "a": 1, "<s>": 2}}}
    (tmp_path / "coder/tokenizer.json").write_text(json.dumps(vocabulary))
    (refusal,) = refusals(written("ties.yml", tokenizer_source="union"), where)
    assert refusal.startswith("tokenizer_source: the models' tokenizers differ, and rows are merged as they")


def test_the_commonest_template_is_taken_where_all_models_have_the_same(
    where: Folders, tmp_path: Path
) -> None:
    for name in ("base", "writer", "coder"):
        (tmp_path / name / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert translate(written("ties.yml", chat_template="auto"), where.find).tree["method"] == "ties"
    (tmp_path / "coder/chat_template.jinja").write_text("{{ other }}")
    (refusal,) = refusals(written("ties.yml", chat_template="auto"), where)
    assert refusal.endswith("(auto is taken where all models have the same)")


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


@pytest.mark.parametrize("method", ["ties", "dare_ties", "della"])
@pytest.mark.parametrize(("normalize", "divisor"), [(False, "none"), (True, "surviving_weights")])
def test_a_sum_that_is_not_normalised_is_not_divided(
    method: str, normalize: bool, divisor: str, where: Folders
) -> None:
    tree = {"merge_method": method, "base_model": "org/base", **WEIGHTED}
    tree["parameters"] = {"weight": 0.5, "normalize": normalize}
    assert translate(tree, where.find).tree["parameters"]["divisor"] == divisor


@pytest.mark.parametrize(
    ("method", "divisor", "rescale"),
    [("ties", "surviving_weights", None), ("dare_ties", "none", "l1"), ("della", "surviving_weights", "l1")],
)
def test_what_is_left_out_takes_mergekit_s_defaults_method_by_method(
    method: str, divisor: str, rescale: str | None, where: Folders
) -> None:
    tree = {"merge_method": method, "base_model": "org/base", **WEIGHTED}
    tree["parameters"] = {"weight": 0.5, "density": 0.5}
    found = translate(tree, where.find).tree["parameters"]
    assert (found["divisor"], found.get("rescale")) == (divisor, rescale)


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
