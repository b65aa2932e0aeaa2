"""A tokenizer that differs is refused, and the part that differs is named."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.core.records import manifest as manifests
from stages.core.records.canonical import write_json
from stages.eligibility.facts import Facts, read
from stages.eligibility.rules import judge
from tests.eligibility.family import only_refusal, spoil
from tests.parents import tiny


def changed(*path: str, to: object) -> dict[str, Any]:
    tree = copy.deepcopy(tiny.TOKENIZER)
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = to
    return tree


@pytest.mark.parametrize(
    ("tree", "named"),
    [
        (
            changed("model", "vocab", to={"<pad>": 0, "b": 1, "a": 2, "ab": 3, "c": 4}),
            "vocabulary (2 tokens: 'a': 1 → 2, 'b': 2 → 1)",
        ),
        (changed("model", "vocab", to=[["<pad>", 0.0]]), "vocabulary"),
        (changed("model", "merges", to=[["b", "a"]]), "merges (from rank 0)"),
        (changed("model", "merges", to=[["a", "b"], ["ab", "c"]]), "merges (from rank 1)"),
        (changed("added_tokens", to=[]), "added tokens"),
        (changed("normalizer", to={"type": "Lowercase"}), "normaliser"),
        (changed("pre_tokenizer", to={"type": "Whitespace"}), "pre tokenizer"),
        (changed("model", "type", to="WordLevel"), "model type"),
        (changed("model", to=None), "model"),
    ],
)
def test_the_part_that_differs_is_named(tmp_path: Path, tree: dict[str, Any], named: str) -> None:
    refused = only_refusal(spoil(tmp_path, "sort", tokenizer=tree))
    assert refused.rule == "tokenizer"
    assert refused.message.startswith(f"sort differs from base in {named}. ")


def test_equal_content_in_other_bytes_is_refused_and_said_to_be_that(passing: Facts, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "again" / "sort")
    (folder / "tokenizer.json").write_text(json.dumps(tiny.TOKENIZER, indent=2))
    write_json(folder / manifests.NAME, manifests.describe(folder).to_json())
    refused = only_refusal(replace(passing, parents=(read(folder), passing.parents[1])))
    assert refused.rule == "tokenizer"
    assert "the writing of tokenizer.json alone" in refused.message


def test_another_end_token_is_refused(tmp_path: Path) -> None:
    refused = only_refusal(spoil(tmp_path, "sort", tokenizer_config={"eos_token": "c"}))
    assert refused.rule == "tokenizer"
    assert "eos_token (expected None, got 'c')" in refused.message


def test_options_that_change_no_ids_are_accepted(tmp_path: Path) -> None:
    assert judge(spoil(tmp_path, "sort", tokenizer_config={"model_max_length": 64})).passed


@pytest.mark.parametrize(
    ("tree", "tokens"),
    [
        (
            changed("model", "vocab", to={"<pad>": 0, "b": 1, "a": 2, "ab": 3, "c": 4}),
            [["a", "1", "2"], ["b", "2", "1"]],
        ),
        (
            changed("added_tokens", to=[{"id": 0, "content": "<pad>"}, {"id": 4, "content": "<new>"}]),
            [["<new>", "absent", "4"]],
        ),
        (changed("model", "vocab", to={"<pad>": 0, "a": 1, "b": 2, "ab": 3}), [["c", "4", "absent"]]),
        (
            changed(
                "model", "vocab", to=[["<pad>", 0.0], ["b", -1.0], ["a", -1.0], ["ab", -2.0], ["c", -3.0]]
            ),
            [["a", "1", "2"], ["b", "2", "1"]],
        ),
        (changed("normalizer", to={"type": "Lowercase"}), []),
    ],
)
def test_the_first_tokens_that_differ_are_kept_with_their_ids(
    tmp_path: Path, tree: dict[str, Any], tokens: list[list[str]]
) -> None:
    refused = only_refusal(spoil(tmp_path, "sort", tokenizer=tree))
    assert refused.evidence["differences"]["sort"]["tokens"] == tokens


def test_the_first_merge_that_differs_is_kept_with_its_rank(tmp_path: Path) -> None:
    tree = changed("model", "merges", to=[["a", "b"], ["ab", "c"]])
    refused = only_refusal(spoil(tmp_path, "sort", tokenizer=tree))
    assert refused.evidence["differences"]["sort"]["merges"] == [1, "absent", "['ab', 'c']"]
