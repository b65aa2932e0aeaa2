"""The verdict says what to do instead."""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.eligibility.facts import Facts
from stages.eligibility.rules import judge
from stages.eligibility.rungs import Recommendation, recommend
from tests.eligibility.family import policy, spoil, spoil_card, weights_of
from tests.parents import tiny

TOKENIZER = {**tiny.TOKENIZER, "normalizer": {"type": "Lowercase"}}


def advice(facts: Facts) -> Recommendation:
    return recommend(judge(facts), facts)


def test_one_base_for_all_recommends_task_vectors(passing: Facts) -> None:
    assert advice(passing).rung == "task-vector-arithmetic"


def test_no_base_recommends_a_merge_of_weights(passing: Facts) -> None:
    assert advice(replace(passing, base=None, methods={"linear": False})).rung == "weight-merge"


def test_another_tokenizer_recommends_distillation(tmp_path: Path) -> None:
    assert advice(spoil(tmp_path, "sort", tokenizer=TOKENIZER)).rung == "distillation"


def test_another_configuration_recommends_an_output_ensemble(tmp_path: Path) -> None:
    changed = {**tiny.CONFIG, "rope_theta": 1.0}
    assert advice(spoil(tmp_path, "sort", config=changed)).rung == "output-ensemble"


def test_another_history_recommends_alignment(tmp_path: Path) -> None:
    assert advice(spoil_card(tmp_path, "sort", "family", to="huge")).rung == "align-first"


def test_the_tokenizer_weighs_more_than_the_history(tmp_path: Path) -> None:
    card = tiny.card("sort", weights_of("sort"), family="huge")
    assert advice(spoil(tmp_path, "sort", tokenizer=TOKENIZER, card=card)).rung == "distillation"


@pytest.mark.parametrize("change", [{"complementarity": ""}, {"policy": policy(niche_accuracy=1.0)}])
def test_a_refusal_beside_structure_recommends_no_rung_and_names_the_rule(
    passing: Facts, change: dict[str, object]
) -> None:
    found = advice(replace(passing, **change))  # type: ignore[arg-type]
    assert found.rung == "none"
    assert "First resolve: " in found.reason


def test_a_structural_refusal_still_names_what_else_must_be_resolved(tmp_path: Path) -> None:
    facts = replace(spoil(tmp_path, "sort", tokenizer=TOKENIZER), complementarity="")
    assert advice(facts).reason.endswith("First resolve: complementarity.")
