import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import dumps, read_json, write_json
from stages.core.records.policy import GatePolicy
from stages.core.records.verdict import Verdict
from stages.core.scoring.checks import (
    Gate,
    Size,
    finite,
    measure,
    norms,
    outliers,
    round_trip,
    same_tokenizer,
)
from tests.core.scoring.tiny import CHARACTERS, change, seal, tiny, write_tokenizer

POLICY = GatePolicy(norm_ratio=2, outlier_ratio=4, perplexity_ratio=1.5, smoke_items=2)
SMOKE = [("say ab>", "ab\n"), ("up: cd>", "CD\n"), ("1 + 2>", "3\n")]
RULES = ["loads", "finite", "norms", "outliers", "tied", "tokenizer", "round_trip", "perplexity"]
MATRIX = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    base, a, b = (tiny(tmp_path / name, seed) for seed, name in enumerate(("base", "a", "b")))
    return Gate(measure(base, [a, b], SMOKE), POLICY)


@pytest.fixture
def candidate(tmp_path: Path, gate: Gate) -> Path:
    """A copy of a parent: it passes every check until a test spoils it."""
    shutil.copytree(tmp_path / "a", tmp_path / "candidate")
    return tmp_path / "candidate"


def failed(verdict: Verdict) -> list[str]:
    assert [finding.rule for finding in verdict.findings] == RULES, (
        "every check runs, whatever the others say"
    )
    dumps(verdict.to_json())
    return [finding.rule for finding in verdict.refusals]


def test_a_sound_candidate_passes_every_check(gate: Gate, candidate: Path) -> None:
    verdict = gate.judge(candidate)
    assert failed(verdict) == []
    assert verdict.passed


def test_one_nan_is_found_named_and_never_scored(gate: Gate, candidate: Path) -> None:
    spoilt = load_file(candidate / "model.safetensors")[MATRIX]
    spoilt[3, 5] = math.nan
    change(candidate, MATRIX, spoilt)
    verdict = gate.judge(candidate)
    assert failed(verdict) == ["finite", "norms", "outliers", "perplexity"]
    assert verdict.findings[1].evidence == {MATRIX: 1}
    assert verdict.findings[-1].message.startswith("not measured")


def test_a_blown_norm_is_found(gate: Gate, candidate: Path) -> None:
    change(candidate, MATRIX, load_file(candidate / "model.safetensors")[MATRIX] * 3)
    verdict = gate.judge(candidate)
    assert "norms" in failed(verdict)
    assert "outliers" not in failed(verdict)
    assert list(verdict.findings[2].evidence) == [MATRIX]


def test_one_outlier_is_found_though_the_norm_is_in_bounds(gate: Gate, candidate: Path) -> None:
    spoilt = load_file(candidate / "model.safetensors")[MATRIX]
    spoilt[0, 0] = 5 * gate.yardstick.sizes[MATRIX].peak
    change(candidate, MATRIX, spoilt)
    assert "outliers" in failed(gate.judge(candidate))
    assert "norms" not in failed(gate.judge(candidate))


def test_an_untied_head_is_found(gate: Gate, candidate: Path) -> None:
    change(candidate, "lm_head.weight", torch.zeros(len(CHARACTERS), 32))
    config = read_json(candidate / "config.json")
    write_json(candidate / "config.json", config | {"tie_word_embeddings": False})
    verdict = gate.judge(candidate)
    assert failed(verdict) == ["loads", "tied", "perplexity"]
    assert verdict.findings[4].evidence == {"base": True, "candidate": False, "head_stored": True}


def test_a_configuration_that_unties_what_is_stored_tied_is_found(gate: Gate, candidate: Path) -> None:
    config = read_json(candidate / "config.json")
    write_json(candidate / "config.json", config | {"tie_word_embeddings": False})
    assert "tied" in failed(gate.judge(candidate))


@pytest.mark.parametrize("key", ["rope_theta", "num_attention_heads", "rms_norm_eps"])
def test_a_configuration_that_computes_something_else_is_found(gate: Gate, candidate: Path, key: str) -> None:
    config = read_json(candidate / "config.json")
    write_json(candidate / "config.json", config | {key: 4})
    verdict = gate.judge(candidate)
    assert failed(verdict) == ["loads", "perplexity"]
    assert key in verdict.findings[0].message


def test_another_number_of_layers_is_found_where_no_lineage_accounts_for_it(
    gate: Gate, candidate: Path
) -> None:
    shutil.rmtree(candidate)
    tiny(candidate, 1, num_hidden_layers=3)
    verdict = gate.judge(candidate)
    assert failed(verdict) == ["loads", "perplexity"]
    assert "no lineage says what" in verdict.findings[0].message


def test_a_permuted_vocabulary_is_found_though_texts_survive_it(gate: Gate, candidate: Path) -> None:
    write_tokenizer(candidate, [*CHARACTERS[:5], *reversed(CHARACTERS[5:])])
    assert failed(gate.judge(candidate)) == ["tokenizer"]


def test_a_tokenizer_that_loses_text_is_found(gate: Gate, candidate: Path) -> None:
    write_tokenizer(candidate, [character for character in CHARACTERS if character != "+"])
    verdict = gate.judge(candidate)
    assert failed(verdict) == ["tokenizer", "round_trip"]
    assert verdict.findings[6].evidence == {"lost": ["1 + 2>3\n"]}


def test_a_collapsed_merge_is_found_by_its_perplexity(gate: Gate, candidate: Path) -> None:
    scaled = load_file(candidate / "model.safetensors")["model.norm.weight"] * 1.9  # within the norm's bound
    change(candidate, "model.norm.weight", scaled)
    verdict = gate.judge(candidate)
    assert failed(verdict) == ["perplexity"]
    evidence = verdict.findings[-1].evidence
    assert evidence["perplexity"] > 1.5 * evidence["worse_parent"]


def test_a_missing_tensor_is_named_and_the_other_checks_still_run(gate: Gate, candidate: Path) -> None:
    change(candidate, MATRIX, None)
    verdict = gate.judge(candidate)
    assert failed(verdict) == ["loads", "perplexity"]
    assert f"'{MATRIX}' is missing" in verdict.findings[0].message


def test_unreadable_weights_are_a_finding_not_a_crash(gate: Gate, candidate: Path) -> None:
    (candidate / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    seal(candidate)
    verdict = gate.judge(candidate)
    assert failed(verdict) == ["loads", "finite", "norms", "outliers", "tied", "perplexity"]
    assert str(candidate.parent) not in verdict.findings[0].message, "no path of this machine in an output"


def test_a_candidate_is_judged_alike_after_a_broken_one(gate: Gate, candidate: Path, tmp_path: Path) -> None:
    first = gate.judge(candidate)
    shutil.copytree(candidate, tmp_path / "broken")
    change(tmp_path / "broken", MATRIX, None)
    gate.judge(tmp_path / "broken")
    assert gate.judge(candidate) == first


def test_bounds_are_ratios_to_the_larger_parent() -> None:
    parents = {"a": Size(2.0, 1.0, 0), "b": Size(0.0, 0.0, 0)}
    assert norms({"a": Size(4.0, 9.0, 0), "b": Size(0.0, 0.0, 0)}, parents, 2).passed  # 2.0, and 0 of 0
    over = norms({"a": Size(4.2, 0.0, 0), "b": Size(1.0, 0.0, 0)}, parents, 2)
    assert not over.passed
    assert over.evidence == {"a": 2.1, "b": "inf"}
    assert outliers({"a": Size(9.0, 4.0, 0)}, parents, 4).passed
    assert not outliers({"a": Size(0.0, 4.1, 0)}, parents, 4).passed
    assert not finite({"a": Size(1.0, 1.0, 2)}).passed


def test_the_yardstick_takes_the_larger_parent_per_tensor_and_the_worse_perplexity(tmp_path: Path) -> None:
    base, a, b = (tiny(tmp_path / name, seed) for seed, name in enumerate(("base", "a", "b")))
    change(b, MATRIX, load_file(a / "model.safetensors")[MATRIX] * 2)
    both, alone, other = (measure(base, parents, SMOKE) for parents in ([a, b], [a], [b]))
    assert both.sizes[MATRIX] == Size(2 * alone.sizes[MATRIX].norm, 2 * alone.sizes[MATRIX].peak, 0)
    assert both.perplexity == max(alone.perplexity, other.perplexity)


def test_a_tokenizer_that_cannot_be_read_is_a_finding(candidate: Path, gate: Gate) -> None:
    (candidate / "tokenizer.json").write_text(json.dumps({"model": "none"}))
    finding = round_trip(candidate, ["a"])
    assert not finding.passed
    assert finding.message.startswith("tokenizer.json is no tokenizer")
    (candidate / "tokenizer.json").unlink()
    assert not same_tokenizer(candidate, gate.yardstick.base).passed


def test_a_parent_that_does_not_load_stops_the_gate(tmp_path: Path) -> None:
    base, a = tiny(tmp_path / "base", 0), tiny(tmp_path / "a", 1)
    change(a, MATRIX, None)
    with pytest.raises(BadCheckpoint, match="is missing"):
        measure(base, [a], SMOKE)
