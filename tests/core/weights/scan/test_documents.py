"""Every limit on the small files is refused one step beyond it, with its code; what is in use passes."""

import json
from typing import Any

import pytest

from stages.core.weights.scan import documents, tokenizer
from stages.core.weights.scan.fitting import beyond
from tests.parents import tiny


def codes(name: str, tree: Any) -> list[str]:
    """The codes of what is wrong with a file of that name."""
    return [problem.code for problem in documents.parsed(name, json.dumps(tree).encode())[1]]


def tokenizer_with(**changes: Any) -> dict[str, Any]:
    return tiny.TOKENIZER | changes


def model_with(**changes: Any) -> dict[str, Any]:
    return tiny.TOKENIZER | {"model": tiny.TOKENIZER["model"] | changes}


STEP = {"type": "Lowercase"}
ADDED = {"id": 0, "content": "<pad>"}
TOKENIZERS: list[tuple[str, Any]] = [
    ("tokenizer-model", {"model": []}),
    ("tokenizer-model", model_with(type="Program")),
    ("tokenizer-vocabulary", model_with(vocab="ab")),
    ("tokenizer-vocabulary", model_with(vocab={"a": -1})),
    ("tokenizer-vocabulary", model_with(vocab={"a": 1.0})),
    ("tokenizer-vocabulary", model_with(vocab={"a": True})),
    ("tokenizer-vocabulary", model_with(vocab={"a": 1 << 40})),
    ("tokenizer-vocabulary", model_with(vocab={"a" * 5000: 1})),
    ("tokenizer-vocabulary", model_with(type="Unigram", vocab=[["a"]])),
    ("tokenizer-merges", model_with(merges=[["a", "b", "c"]])),
    ("tokenizer-merges", model_with(merges=["a" * 9000])),
    ("tokenizer-added", tokenizer_with(added_tokens=[{"id": 1, "content": ""}])),
    ("tokenizer-added", tokenizer_with(added_tokens=[{"id": 1, "content": "a" * 5000}])),
    ("tokenizer-added", tokenizer_with(added_tokens=[{"id": -1, "content": "a"}])),
    ("tokenizer-added", tokenizer_with(added_tokens={"a": 1})),
    ("tokenizer-added", tokenizer_with(added_tokens=[ADDED] * (tokenizer.MOST_ADDED + 1))),
    ("tokenizer-steps", tokenizer_with(pre_tokenizer={"type": "Sequence", "pretokenizers": [STEP] * 64})),
    ("tokenizer-steps", tokenizer_with(pre_tokenizer={"type": "Split", "pattern": {"Regex": "a" * 5000}})),
    ("tokenizer-length", tokenizer_with(padding={"strategy": {"Fixed": 1 << 40}})),
    ("tokenizer-length", tokenizer_with(padding={"strategy": "BatchLongest", "pad_to_multiple_of": -1})),
    ("tokenizer-length", tokenizer_with(truncation={"max_length": 1e30})),
]


@pytest.mark.parametrize(("code", "tree"), TOKENIZERS)
def test_a_tokenizer_beyond_all_use_is_refused(code: str, tree: Any) -> None:
    assert codes("tokenizer.json", tree) == [code]


def test_steps_that_each_lengthen_a_text_are_multiplied() -> None:
    twice = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    for steps, found in ((8, []), (9, ["tokenizer-steps"])):
        assert codes("tokenizer.json", tokenizer_with(normalizer=[twice] * steps)) == found


def test_ordinary_tokenizers_of_each_kind_pass() -> None:
    assert codes("tokenizer.json", tiny.TOKENIZER) == []
    assert codes("tokenizer.json", model_with(merges=["a b"])) == []
    assert codes("tokenizer.json", {"model": {"type": "Unigram", "vocab": [["a", -1.5], ["b", 0]]}}) == []
    assert codes("tokenizer.json", {"model": {"type": "WordPiece", "vocab": {"a": 0}}}) == []


@pytest.mark.parametrize(
    ("code", "name", "tree"),
    [
        ("generation", "generation_config.json", {"max_length": 1 << 40}),
        ("generation", "generation_config.json", {"num_beams": 1000}),
        ("tokenizer-added", "tokenizer_config.json", {"added_tokens_decoder": {"1": {"content": 5}}}),
        ("tokenizer-added", "tokenizer_config.json", {"added_tokens_decoder": [1]}),
        ("tokenizer-added", "special_tokens_map.json", {"bos_token": {"content": "a" * 5000}}),
        ("tokenizer-added", "special_tokens_map.json", {"additional_special_tokens": ["a", 1]}),
        ("tokenizer-vocabulary", "added_tokens.json", {"a": "1"}),
        ("tokenizer-vocabulary", "vocab.json", {"a": -1}),
        ("json-size", "config.json", {"a": [0] * (documents.VALUES + 1)}),
        ("json-size", "config.json", {"a": [0] * (3 * documents.VALUES)}),
        ("json-size", "config.json", {"a": "x" * (documents.VALUES + 1)}),
        ("json-size", "config.json", {"x" * (documents.VALUES + 1): 1}),
        ("remote-code", "generation_config.json", {"a": {"trust_remote_code": False}}),
    ],
)
def test_settings_beyond_all_use_are_refused(code: str, name: str, tree: Any) -> None:
    assert codes(name, tree) == [code]


def test_ordinary_settings_pass() -> None:
    assert codes("generation_config.json", {"max_length": 4096, "num_beams": 4, "do_sample": True}) == []
    special = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "additional_special_tokens": ["<a>"]}
    assert codes("special_tokens_map.json", special) == []
    config = {"model_max_length": 10**30, "added_tokens_decoder": {"0": {"content": "<s>", "special": True}}}
    assert codes("tokenizer_config.json", config) == []


def test_a_number_that_only_reads_as_infinite_is_refused() -> None:
    (problem,) = documents.parsed("config.json", b'{"a": 1e999}')[1]
    assert (problem.code, problem.message) == ("json", "config.json holds a number beyond all counting.")


def test_everything_that_is_wrong_with_a_file_is_told_at_once() -> None:
    found = codes("tokenizer.json", {"model": {"type": "x", "vocab": 1, "merges": 1}, "auto_map": {}})
    assert found == ["remote-code", "tokenizer-model", "tokenizer-vocabulary", "tokenizer-merges"]


@pytest.mark.parametrize(
    "claim",
    [
        {"num_hidden_layers": 3},
        {"hidden_size": 8},
        {"vocab_size": 1 << 40},
        {"num_attention_heads": 1 << 20},
        {"max_position_embeddings": 1 << 30},
        {"text_config": {"num_hidden_layers": 1e9}},
        {"hidden_size": -1},
    ],
)
def test_a_configuration_that_claims_more_than_its_tensors_hold_is_refused(claim: dict[str, Any]) -> None:
    (problem,) = beyond(claim, [(5, 7), (7,)])
    assert problem.code == "config-size"


def test_a_configuration_of_its_tensors_passes() -> None:
    claim = {
        "num_hidden_layers": 2,
        "hidden_size": 7,
        "vocab_size": 5,
        "sliding_window": None,
        "head_dim": 64,
    }
    assert list(beyond(claim, [(5, 7), (7,)])) == []
