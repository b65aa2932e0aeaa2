"""A card is read whole: every problem in it is reported at once, and nothing unknown slips through."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import BadRequest, LabError
from stages.core.records import card as cards

EXPERT: dict[str, Any] = {
    **cards.template("sorter"),
    "licence": {"weights": "Apache-2.0", "data": ["CC0-1.0"]},
    "restrictions": {**cards.template("x")["restrictions"], "noncommercial": False, "pii": "none"},
    "training": {
        "recipe": "toy",
        "version": 1,
        "seed": 7,
        "steps": 10,
        "cpu_seconds": 1.5,
        "learning_rate": 0.1,
    },
    "evaluation": {
        "suite": "shipped",
        "suite_version": 1,
        "weights_sha256": "0" * 64,
        "items": {"sort": 200},
        "scores": {"sort": 0.97},
    },
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(EXPERT), **changes}


def test_a_complete_card_comes_back_unchanged() -> None:
    assert cards.parse(EXPERT, "card.json").to_json() == EXPERT


def test_every_problem_is_reported_at_once_with_file_and_key() -> None:
    wrong = changed(role="parent", colour="blue", safety={})
    wrong["restrictions"]["pii"] = "some"
    del wrong["title"]
    with pytest.raises(BadRequest, match=r"a/card\.json") as caught:
        cards.parse(wrong, "a/card.json")
    keys = {problem.split(": ")[1] for problem in caught.value.problems}
    assert keys == {"role", "colour", "safety.advisories", "restrictions.pii", "title"}


def test_an_expert_without_base_and_niche_is_refused_for_both() -> None:
    with pytest.raises(BadRequest, match="needs its base") as caught:
        cards.parse(changed(base=None, niche=None), "card.json")
    assert len(caught.value.problems) == 2


def test_a_base_that_names_a_base_is_refused() -> None:
    with pytest.raises(BadRequest, match="a base has no base"):
        cards.parse(changed(role="base", niche=None), "card.json")


def test_a_base_without_base_and_niche_is_accepted() -> None:
    assert cards.parse(changed(role="base", niche=None, base=None), "card.json").niche is None


@pytest.mark.parametrize("score", [1.01, -0.1, float("nan"), "high"])
def test_a_score_outside_zero_to_one_is_refused(score: object) -> None:
    wrong = changed()
    wrong["evaluation"]["scores"]["sort"] = score
    with pytest.raises(BadRequest, match=r"evaluation\.scores\.sort"):
        cards.parse(wrong, "card.json")


def test_unknown_restrictions_are_kept_as_unknown_not_as_absent() -> None:
    restrictions = cards.parse(cards.template("x"), "card.json").restrictions
    assert restrictions.noncommercial is None
    assert restrictions.pii is None


def test_a_training_section_takes_further_numbers_but_no_further_text() -> None:
    wrong = changed(training={"recipe": "toy", "version": 1, "note": "by hand"})
    with pytest.raises(BadRequest, match=r"training\.note"):
        cards.parse(wrong, "card.json")


@pytest.mark.parametrize("answer", ["no", 0])
def test_a_restriction_answered_by_anything_but_true_or_false_is_refused(answer: object) -> None:
    wrong = changed()
    wrong["restrictions"]["no_release"] = answer
    with pytest.raises(BadRequest, match="no_release"):
        cards.parse(wrong, "card.json")


def test_a_card_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(LabError, match=r"card\.json is not JSON"):
        cards.load(tmp_path / "card.json")


def test_a_card_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps(["card"]))
    with pytest.raises(BadRequest, match="the card"):
        cards.load(tmp_path / "card.json")
