"""Structure: what differs is found and named, and nothing that computes the same is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.core.records.canonical import pretty
from stages.eligibility.compatibility import effective
from stages.eligibility.facts import Facts
from stages.eligibility.rules import judge
from tests.eligibility.family import acquired, only_refusal, spoil, spoil_card, weights_of
from tests.parents import tiny


def config(**changes: Any) -> dict[str, Any]:
    """The tiny configuration, changed; None removes a key."""
    tree = {**tiny.CONFIG, **changes}
    return {key: value for key, value in tree.items() if value is not None}


def test_every_tensor_that_differs_is_listed(tmp_path: Path) -> None:
    shapes = dict(tiny.SHAPES) | {"model.norm.weight": (5,), "extra.weight": (1,)}
    del shapes["model.layers.0.mlp.up_proj.weight"]
    weights = tiny.safetensors(shapes)
    refused = only_refusal(spoil(tmp_path, "sort", weights=weights, card=tiny.card("sort", weights)))
    assert refused.rule == "tensors"
    assert refused.evidence["differences"] == [
        {"parent": "sort", "tensor": "extra.weight", "expected": "absent", "got": "float32 [1]"},
        {
            "parent": "sort",
            "tensor": "model.layers.0.mlp.up_proj.weight",
            "expected": "float32 [6, 4]",
            "got": "absent",
        },
        {"parent": "sort", "tensor": "model.norm.weight", "expected": "float32 [4]", "got": "float32 [5]"},
    ]


def test_another_dtype_is_refused(tmp_path: Path) -> None:
    weights = weights_of("shift", dtype="F16")
    refused = only_refusal(spoil(tmp_path, "shift", weights=weights, card=tiny.card("shift", weights)))
    assert refused.rule == "tensors"
    assert "model.norm.weight expected float32 [4], got float16 [4]" in refused.message


def test_a_message_names_five_differences_and_counts_the_rest(tmp_path: Path) -> None:
    shapes = dict(tiny.SHAPES) | {f"extra.{number}": (1,) for number in range(9)}
    weights = tiny.safetensors(shapes)
    refused = only_refusal(spoil(tmp_path, "sort", weights=weights, card=tiny.card("sort", weights)))
    assert refused.message.count("extra.") == 5
    assert "and 4 more" in refused.message
    assert len(refused.evidence["differences"]) == 9


@pytest.mark.parametrize(
    ("aspect", "changes"),
    [
        ("normalisation", {"rms_norm_eps": 1e-6}),
        ("RoPE", {"rope_theta": 500000.0}),
        ("RoPE", {"rope_theta": None}),
        ("RoPE", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        ("RoPE", {"rope_parameters": {"rope_type": "default", "rope_theta": 20000.0}}),
        ("RoPE", {"max_position_embeddings": 64}),
        ("head layout", {"num_attention_heads": 1}),
        ("head layout", {"num_key_value_heads": 1}),
        ("head layout", {"head_dim": 8}),
        ("activation", {"hidden_act": "gelu"}),
        ("tied weights", {"tie_word_embeddings": None}),
        ("architecture", {"model_type": "mistral"}),
        ("architecture", {"num_hidden_layers": 2}),
        ("other", {"sliding_window": 16}),
        ("other", {"eos_token_id": 4}),
    ],
)
def test_equal_shapes_that_compute_something_else_are_refused(
    tmp_path: Path, aspect: str, changes: dict[str, Any]
) -> None:
    refused = only_refusal(spoil(tmp_path, "sort", config=config(**changes)))
    assert refused.rule == "configuration"
    assert {found["aspect"] for found in refused.evidence["differences"]} == {aspect}


@pytest.mark.parametrize(
    "changes",
    [
        {"transformers_version": "5.23.0"},
        {"torch_dtype": "bfloat16", "dtype": None},
        {"num_key_value_heads": None},
        {"head_dim": 2},
        {"rope_theta": 10000},
        {"rope_scaling": None, "sliding_window": None},
        {"rope_scaling": {"type": "default"}},
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    ],
)
def test_two_spellings_of_one_function_are_accepted(tmp_path: Path, changes: dict[str, Any]) -> None:
    verdict = judge(spoil(tmp_path, "sort", config=config(**changes)))
    assert verdict.passed, verdict.refusals


def test_older_and_newer_rope_scaling_are_one() -> None:
    older = effective({"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2}})
    newer = effective({"rope_parameters": {"rope_theta": 1e4, "rope_type": "linear", "factor": 2}})
    assert older == newer
    assert older == {"rope_theta": "10000", "rope_scaling": '{"factor": 2, "rope_type": "linear"}'}


def test_true_is_not_one_but_whole_floats_are_integers() -> None:
    assert effective({"a": True}) != effective({"a": 1})
    assert effective({"a": [1.0]}) == effective({"a": [1]})


def test_a_number_too_large_for_canonical_json_is_refused_like_any_difference(tmp_path: Path) -> None:
    refused = only_refusal(spoil(tmp_path, "sort", config=config(sliding_window=10**30)))
    assert refused.rule == "configuration"
    pretty(refused.to_json())


def test_a_vocabulary_size_that_all_share_and_no_embedding_has_is_refused(tmp_path: Path) -> None:
    wrong = config(vocab_size=6)
    facts = spoil(tmp_path / "one", "sort", config=wrong)
    base = acquired(tmp_path / "base", config=wrong)
    shift = acquired(tmp_path / "shift", config=wrong)
    refused = only_refusal(replace(facts, base=base, parents=(facts.parents[0], shift)))
    assert refused.rule == "self_consistency"
    assert "sort: vocab_size is 6, and model.embed_tokens.weight has 5 rows" in refused.message


def test_a_token_id_beyond_the_vocabulary_is_refused(passing: Facts) -> None:
    tree = {**tiny.TOKENIZER, "added_tokens": [{"id": 5, "content": "<new>"}]}
    everyone = tuple(replace(parent, tokenizer=tree) for parent in passing.family)
    refused = only_refusal(replace(passing, base=everyone[0], parents=everyone[1:]))
    assert refused.rule == "self_consistency"
    assert "vocab_size is 5, and the tokenizer gives the id 5" in refused.message


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_contradicts_tied_weights_is_refused(tmp_path: Path, tied: bool) -> None:
    shapes = dict(tiny.SHAPES) | ({"lm_head.weight": (5, 4)} if tied else {})
    base, sort, shift = (
        acquired(
            tmp_path / name,
            weights=(weights := weights_of(name, shapes)),
            card=tiny.card(name, weights),
            config=config(tie_word_embeddings=tied),
        )
        for name in ("base", "sort", "shift")
    )
    sound = spoil(tmp_path / "sound", "sort")
    refused = only_refusal(replace(sound, base=base, parents=(sort, shift)))
    assert refused.rule == "self_consistency"
    assert "tie_word_embeddings" in refused.message


def test_a_parent_of_another_family_is_refused(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "family", to="huge"))
    assert refused.rule == "base_family"
    assert "sort is of family 'huge', expected 'tiny'" in refused.message


def test_a_parent_tuned_from_another_base_is_refused(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "shift", "base", to="other-base"))
    assert refused.rule == "base_family"
    assert "shift was tuned from 'other-base', expected 'base'" in refused.message


def test_an_expert_in_the_place_of_the_base_is_refused(passing: Facts) -> None:
    refused = judge(replace(passing, base=passing.parents[0])).refusals
    assert refused[0].rule == "base_family"
    assert "its card says role 'expert'" in refused[0].message


def test_methods_on_task_vectors_are_refused_without_a_base(passing: Facts) -> None:
    refused = only_refusal(replace(passing, base=None))
    assert refused.rule == "base_for_methods"
    assert "ties work on the difference" in refused.message
    assert "linear work" not in refused.message


def test_methods_on_weights_need_no_base(passing: Facts) -> None:
    assert judge(replace(passing, base=None, methods={"linear": False})).passed
