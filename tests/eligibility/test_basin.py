"""Merge-resistant and unrelated parents are found in their weights; the shipped experts are not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.core.records import manifest as manifests
from stages.core.records.canonical import pretty, write_json
from stages.core.records.verdict import Finding
from stages.core.scoring.model import ResidentModel
from stages.core.weights.reader import Checkpoint
from stages.eligibility.facts import Facts, Measured, read
from stages.eligibility.rules import judge
from stages.eligibility.rungs import recommend
from tests.eligibility import pico
from tests.eligibility.family import only_refusal, policy

PAIRS = [("shift 3: cat =", " fdw\n"), ("copy: dog =", " dog\n"), ("sort: zebra =", " aberz\n")]
WEIGHT_RULES = ("finite", "distinct", "same_basin", "merge_resistance", "interpolation", "sparsification")


def found(facts: Facts, rule: str) -> Finding:
    return next(finding for finding in judge(facts).findings if finding.rule == rule)


def refused(facts: Facts) -> list[str]:
    verdict = judge(facts)
    pretty(verdict.to_json())
    return [finding.rule for finding in verdict.refusals]


def test_the_shipped_family_passes_with_room_to_spare(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, probe=True)
    assert judge(facts).passed, judge(facts).refusals
    for name in ("pico-a", "pico-b"):
        resistance = found(facts, "merge_resistance").evidence[name]
        assert resistance["least_cosine"] > 0.9
        assert resistance["largest_rescaling"] < 1.05
        assert found(facts, "same_basin").evidence["parents"][name]["relative_norm"] < 0.19
    assert max(found(facts, "interpolation").evidence["barrier_nats"].values()) < 0.1


@pytest.mark.parametrize("name", ["pico-b", "pico-base"])
def test_any_model_of_the_family_may_be_the_reference(tmp_path: Path, name: str) -> None:
    # the distance between the experts is larger than that of either from the base
    facts = pico.family(tmp_path, measured=False)
    order = sorted(facts.family, key=lambda parent: parent.id != name)
    measured = pico.measure(facts.policy, [], tmp_path, order, pico.here)
    answers = judge(replace(facts, base=order[0], parents=tuple(order[1:]), measured=measured)).findings
    assert all(finding.passed for finding in answers if finding.rule in WEIGHT_RULES)


@pytest.mark.parametrize("share", [0.002, 0.05, 0.2])
def test_a_copy_with_noise_is_no_resistant_parent(tmp_path: Path, share: float) -> None:
    facts = pico.family(tmp_path, b={"change": pico.with_noise(share)})
    assert judge(facts).passed, judge(facts).refusals


def test_an_expert_trained_twice_as_far_is_no_resistant_parent(tmp_path: Path) -> None:
    base = pico.load(pico.SOURCES / "pico-base")

    def farther(weights: pico.Weights) -> pico.Weights:
        return {name: base[name] + 2 * (values - base[name]) for name, values in weights.items()}

    facts = pico.family(tmp_path, a={"change": farther})
    assert found(facts, "merge_resistance").passed
    assert found(facts, "same_basin").passed


def test_a_few_dead_neurons_are_no_resistance(tmp_path: Path) -> None:
    def dying(weights: pico.Weights) -> pico.Weights:
        for number in range(pico.LAYERS):
            weights[pico.layer(number, "mlp.up_proj")][:5] = 0
        return weights

    facts = pico.family(tmp_path, b={"change": dying})
    assert judge(facts).passed, judge(facts).refusals
    strayed = found(facts, "merge_resistance").evidence["pico-b"]["strayed"]
    assert [one["strayed"] for one in strayed] == [5] * pico.LAYERS


@pytest.mark.parametrize("name", pico.KEEPING)
def test_each_change_keeps_the_function(tmp_path: Path, name: str) -> None:
    pico.acquire(tmp_path / "changed", "pico-a", change=pico.KEEPING[name])
    model = ResidentModel(pico.SOURCES / "pico-a")
    model.swap(Checkpoint(pico.SOURCES / "pico-a"))
    before = model.answer_loglikelihoods(PAIRS)
    model.swap(Checkpoint(tmp_path / "changed"))
    after = model.answer_loglikelihoods(PAIRS)
    # nats: a rotation is rounded to bfloat16, a scaled stream meets another eps; the rest is exact up to the
    # order of sums
    bound = {"values mixed": 0.3, "stream scaled": 0.02}.get(name, 2e-3)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=bound)


@pytest.mark.parametrize("name", pico.KEEPING)
def test_each_change_that_keeps_the_function_is_refused_and_alignment_recommended(
    tmp_path: Path, name: str
) -> None:
    facts = pico.family(tmp_path, b={"change": pico.KEEPING[name]})
    rules = refused(facts)
    assert rules
    assert set(rules) <= {"merge_resistance", "same_basin", "sparsification"}
    assert recommend(judge(facts), facts).rung == "align-first"
    refusals = [finding for finding in judge(facts).refusals if finding.rule != "sparsification"]
    assert all("pico-b" in finding.message and "pico-a" not in finding.message for finding in refusals)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("neurons reordered", "256 of 256 neurons of model.layers.0.mlp.down_proj.weight are not where they"),
        ("neurons reordered", "64 lie elsewhere (0 is the base's 255, 4 is the base's 251)"),
        ("neurons of one layer reordered", "model.layers.3.mlp.gate_proj.weight are not where they were"),
        ("heads reordered", "64 lie elsewhere (0 is the base's 96, 2 is the base's 98)"),
        ("up scaled against down", "256 rows or columns of model.layers.0.mlp.up_proj.weight were rescaled"),
        ("keys scaled against queries", "model.layers.0.self_attn.q_proj.weight the other way"),
        ("norm scaled against projections", "of model.layers.0.input_layernorm.weight were rescaled"),
        (
            "one neuron scaled",
            "1 rows or columns of model.layers.1.mlp.up_proj.weight were rescaled by up to",
        ),
        ("one head scaled", "32 rows or columns of model.layers.2.self_attn.v_proj.weight were rescaled"),
        ("signs turned", "turned: of 64 looked for, 64 changed their sign"),
        ("values mixed", "are nowhere: mixed, or unrelated"),
    ],
)
def test_the_refusal_says_what_was_done(tmp_path: Path, name: str, said: str) -> None:
    facts = pico.family(tmp_path, b={"change": pico.KEEPING[name]})
    assert said in found(facts, "merge_resistance").message


def test_a_scaled_stream_is_refused_by_the_norms_of_its_matrices(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, b={"change": pico.scale_stream})
    message = found(facts, "same_basin").message
    assert "times as large as the base's" in message


def test_an_unrelated_parent_of_equal_shapes_is_refused_by_every_look(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, probe=True, b={"change": pico.unrelated})
    assert refused(facts) == ["same_basin", "merge_resistance", "interpolation", "sparsification"]
    assert recommend(judge(facts), facts).rung == "align-first"
    basin = found(facts, "same_basin").evidence["parents"]
    assert basin["pico-a"]["cosine"] > 0.98
    assert abs(basin["pico-b"]["cosine"]) < 0.2


def test_a_reordered_parent_runs_alone_and_not_in_a_mean(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, probe=True, b={"change": pico.reorder_heads})
    message = found(facts, "interpolation").message
    assert "the mean of pico-b with pico-base loses" in message
    assert "pico-a with" not in message
    losses = found(facts, "interpolation").evidence["loss_nats"]
    assert losses["pico-b"] < 0.5


def test_a_permuted_embedding_under_one_tokenizer_is_refused_with_its_tokens(tmp_path: Path) -> None:
    def permuted(weights: pico.Weights) -> pico.Weights:
        rows = weights["model.embed_tokens.weight"]
        rows[10:40] = rows[10:40][::-1].copy()
        return weights

    message = found(pico.family(tmp_path, a={"change": permuted}), "merge_resistance").message
    vocabulary = json.loads((pico.SOURCES / "pico-a" / "tokenizer.json").read_text())["model"]["vocab"]
    texts = {identifier: text for text, identifier in vocabulary.items()}
    # 11 of the 30 land on a row that is like their own: capitals that are hardly used
    assert "19 of 98 tokens of model.embed_tokens.weight are not where they were; reordered" in message
    assert f"10 {texts[10]!r} is the base's 39 {texts[39]!r}" in message


def test_the_same_expert_twice_is_nothing_to_merge(tmp_path: Path) -> None:
    expert = pico.load(pico.SOURCES / "pico-a")
    refusal = only_refusal(pico.family(tmp_path, b={"change": lambda weights: expert}))
    assert refusal.rule == "distinct"
    assert "pico-a and pico-b lie 0 apart" in refusal.message
    assert "There is nothing to merge" in refusal.message


def test_an_expert_equal_to_its_base_is_nothing_to_merge(tmp_path: Path) -> None:
    base = pico.load(pico.SOURCES / "pico-base")
    facts = pico.family(tmp_path, b={"change": lambda weights: base})
    refusal = only_refusal(facts)
    assert refusal.rule == "distinct"
    assert "pico-b lies 0 from pico-base" in refusal.message
    assert refusal.evidence["differing"]["pico-b"] == 0
    assert recommend(judge(facts), facts).rung == "none"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused_and_named(tmp_path: Path, value: float) -> None:
    def spoiled(weights: pico.Weights) -> pico.Weights:
        weights["model.norm.weight"][3] = value
        return weights

    refusal = only_refusal(pico.family(tmp_path, probe=True, b={"change": spoiled}))
    assert refusal.rule == "finite"
    assert "pico-b holds a NaN or an infinity in model.norm.weight" in refusal.message


def test_task_vectors_too_large_for_dropping_refuse_those_methods_alone(tmp_path: Path) -> None:
    facts = replace(pico.family(tmp_path), policy=policy(delta_q99=0.5))
    refusal = only_refusal(facts)
    assert refusal.rule == "sparsification"
    assert "Leave out dare_ties" in refusal.message
    assert judge(replace(facts, methods={"linear": False, "ties": True})).passed


@pytest.mark.parametrize(
    "config",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 16},
        {"rms_norm_eps": 1e-6},
    ],
)
def test_equal_weights_that_are_read_differently_are_refused_by_the_configuration(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    facts = pico.family(tmp_path, b={"config": config})
    assert only_refusal(facts).rule == "configuration"
    assert recommend(judge(facts), facts).rung == "output-ensemble"


def test_heads_that_all_models_state_and_no_projection_has_are_refused(tmp_path: Path) -> None:
    wrong = {"config": {"num_key_value_heads": 2}}
    refusal = only_refusal(pico.family(tmp_path, base=wrong, a=wrong, b=wrong))
    assert refusal.rule == "self_consistency"
    assert "num_key_value_heads is 2 of 32 rows each, and model.layers.0.self_attn.k_proj" in refusal.message


def test_weights_swapped_after_they_were_acquired_are_refused_by_their_digest(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, measured=False)
    path = tmp_path / "pico-b" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    measured = pico.measure(facts.policy, [], tmp_path, facts.family, pico.here)
    refusal = only_refusal(replace(facts, measured=measured))
    assert refusal.rule == "digests"
    assert "pico-b/model.safetensors is not what its manifest says" in refusal.message
    assert str(tmp_path) not in refusal.message


def test_facts_that_nobody_measured_are_refused_by_every_rule_on_weights(tmp_path: Path) -> None:
    facts = replace(pico.family(tmp_path, measured=False), policy=policy(barrier_nats=0.5))
    assert refused(facts) == list(WEIGHT_RULES)


def test_a_worker_without_an_answer_refuses_and_says_why(tmp_path: Path) -> None:
    facts = replace(pico.family(tmp_path, measured=False), measured=Measured(problem="it was killed"))
    assert refused(facts) == [rule for rule in WEIGHT_RULES if rule != "interpolation"]
    assert "could not be measured: it was killed" in found(facts, "finite").message


def test_a_family_that_cannot_be_run_is_refused_where_the_policy_asks_for_a_probe(tmp_path: Path) -> None:
    unknown = {"config": {"model_type": "no-such-model"}}
    facts = pico.family(tmp_path, probe=True, base=unknown, a=unknown, b=unknown)
    refusal = only_refusal(facts)
    assert refusal.rule == "interpolation"
    assert "cannot build a model of type 'no-such-model'" in refusal.message
    quiet = pico.family(tmp_path / "quiet", base=unknown, a=unknown, b=unknown)
    assert judge(quiet).passed


def test_other_shapes_are_left_to_the_rule_on_tensors(tmp_path: Path) -> None:
    def wider(weights: pico.Weights) -> pico.Weights:
        return {**weights, "model.norm.weight": np.ones(129, np.float32)}

    facts = pico.family(tmp_path, b={"change": wider})
    assert only_refusal(facts).rule == "tensors"
    assert found(facts, "same_basin").message == "not measured: left to the rule tensors"


def test_adapters_on_one_base_are_to_be_merged_as_adapters(tmp_path: Path) -> None:
    facts = pico.family(tmp_path)
    assert recommend(judge(facts), facts).rung == "task-vector-arithmetic"
    some = replace(facts, adapters=("pico-a",))
    assert recommend(judge(some), some).rung == "task-vector-arithmetic"
    every = replace(facts, adapters=("pico-b", "pico-a"))
    assert recommend(judge(every), every).rung == "adapter-merge"


def test_a_permuted_vocabulary_is_refused_and_its_first_tokens_named(tmp_path: Path) -> None:
    facts = pico.family(tmp_path)
    path = tmp_path / "pico-a" / "tokenizer.json"
    tree = json.loads(path.read_text())
    vocabulary = tree["model"]["vocab"]
    by_id = {identifier: text for text, identifier in vocabulary.items()}
    vocabulary[by_id[30]], vocabulary[by_id[31]] = 31, 30
    path.write_text(json.dumps(tree))
    write_json(path.parent / manifests.NAME, manifests.describe(path.parent).to_json())
    permuted = replace(facts, parents=(read(path.parent), facts.parents[1]))
    refusal = only_refusal(permuted)
    assert refusal.rule == "tokenizer"
    assert refusal.evidence["differences"]["pico-a"]["tokens"] == [
        [by_id[30], "30", "31"],
        [by_id[31], "31", "30"],
    ]
    assert recommend(judge(permuted), permuted).rung == "distillation"
