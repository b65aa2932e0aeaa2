"""What is known of the parents must be current, sufficient and said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.eligibility.facts import Facts
from stages.eligibility.rules import judge
from tests.eligibility.family import only_refusal, spoil_card

ADVISORY: dict[str, Any] = {"id": "LAB-1", "severity": "low", "summary": "repeats secrets", "resolved": False}


def test_scores_of_other_weights_are_refused(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "evaluation", "weights_sha256", to="f" * 64))
    assert refused.rule == "evaluation_current"
    assert "sort: its scores are of the weights ffffffffffff" in refused.message


@pytest.mark.parametrize(("key", "value"), [("suite", "other"), ("suite_version", 2)])
def test_scores_of_another_suite_or_version_are_refused(tmp_path: Path, key: str, value: object) -> None:
    refused = only_refusal(spoil_card(tmp_path, "base", "evaluation", key, to=value))
    assert refused.rule == "evaluation_current"
    assert "expected tiny 1" in refused.message


def test_a_parent_that_was_never_evaluated_is_refused(tmp_path: Path) -> None:
    verdict = judge(spoil_card(tmp_path, "sort", "evaluation", to=None))
    assert [finding.rule for finding in verdict.refusals] == ["evaluation_current", "niche"]


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"sort": 0.89}, "reaches 0.89 on its niche sort, expected at least 0.9"),
        ({"shift": 0.99}, "has no score on its niche sort"),
    ],
)
def test_a_parent_without_its_niche_is_refused(tmp_path: Path, scores: dict[str, float], reason: str) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "evaluation", "scores", to=scores))
    assert refused.rule == "niche"
    assert reason in refused.message


def test_a_parent_shown_to_reach_the_floor_has_its_niche(tmp_path: Path) -> None:
    scores = {"sort": 0.96, "shift": 0.5}  # 96 of 100: the exact interval at 95 % starts at .9007
    verdict = judge(spoil_card(tmp_path, "sort", "evaluation", "scores", to=scores))
    assert verdict.passed, verdict.refusals
    found = next(finding for finding in verdict.findings if finding.rule == "niche")
    assert found.evidence["sort"] == {
        "skill": "sort",
        "accuracy": 0.96,
        "items": 100,
        "at_least": 0.9007,
        "base": 0.5,
    }


@pytest.mark.parametrize("score", [0.9, 0.95])
def test_a_parent_over_the_floor_by_luck_is_refused(tmp_path: Path, score: float) -> None:
    scores = {"sort": score, "shift": 0.5}  # 95 of 100 start at .887
    refused = only_refusal(spoil_card(tmp_path, "sort", "evaluation", "scores", to=scores))
    assert refused.rule == "niche"
    assert "sort: at 0.95 confidence it is only shown to reach 0.8" in refused.message
    assert "expected at least 0.9: measure it on more items" in refused.message


def test_a_parent_over_the_base_by_luck_is_refused(tmp_path: Path) -> None:
    scores = {"sort": 0.92, "shift": 0.5}  # the parent's 97 of 100 start at .915
    refused = only_refusal(spoil_card(tmp_path, "base", "evaluation", "scores", to=scores))
    assert refused.rule == "niche"
    assert "reach 0.915 on its niche sort, no more than the base with 0.92" in refused.message


def test_a_right_answer_to_one_item_shows_no_niche(tmp_path: Path) -> None:
    items = {"sort": 1, "shift": 100}
    refused = only_refusal(spoil_card(tmp_path, "sort", "evaluation", "items", to=items))
    assert refused.rule == "niche"  # .97 of 1 item is none of 1


def test_a_score_of_an_unknown_number_of_items_is_refused(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "evaluation", "items", to={"shift": 100}))
    assert refused.rule == "niche"
    assert "sort: its card does not say of how many items its score on sort is" in refused.message


@pytest.mark.parametrize("base_score", [0.97, 0.98])
def test_a_parent_no_better_than_the_base_is_refused(tmp_path: Path, base_score: float) -> None:
    scores = {"sort": base_score, "shift": 0.5}
    refused = only_refusal(spoil_card(tmp_path, "base", "evaluation", "scores", to=scores))
    assert refused.rule == "niche"
    assert "no more than the base" in refused.message


def test_a_base_without_a_score_on_the_niche_is_refused(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "base", "evaluation", "scores", to={"shift": 0.5}))
    assert refused.rule == "niche"
    assert "the base has no score on sort" in refused.message


def test_a_niche_that_the_suite_does_not_measure_is_refused(passing: Facts) -> None:
    refused = only_refusal(replace(passing, niches={"sort": ["sort"], "shift": ["sort"]}))
    assert refused.rule == "niche"
    assert "the suite has no task of skill shift with parent: shift" in refused.message


@pytest.mark.parametrize("said", ["", "   \n  ", "because", "x" * 20, "a b " * 2 + " " * 40])
def test_a_statement_of_twenty_characters_or_fewer_is_refused(passing: Facts, said: str) -> None:
    assert only_refusal(replace(passing, complementarity=said)).rule == "complementarity"


@pytest.mark.parametrize(
    "said",
    [
        "sort puts words in order, shift finds partners",
        "shift: merkt sich Paare. sort: ordnet Wörter.",
        "(sort) orders lists; what 'shift' adds is memory",
    ],
)
def test_a_statement_that_says_what_each_parent_adds_is_accepted(passing: Facts, said: str) -> None:
    verdict = judge(replace(passing, complementarity=said))
    assert verdict.passed, verdict.refusals


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("x" * 200, "does not name sort, shift"),
        ("sort puts words in order, the other one finds partners", "does not name shift"),
        ("one sorts words and resort-2 does not, one recalls pairs", "does not name sort, shift"),
        ("TODO: say why sort and shift belong together here", "holds the placeholder todo"),
        ("sort and shift: to be decided by whoever merges them", "holds the placeholder to be decided"),
        ("sort shift sort shift sort shift and and and", "says 1 different words beside names"),
    ],
)
def test_a_statement_without_substance_is_refused(passing: Facts, said: str, problem: str) -> None:
    refused = only_refusal(replace(passing, complementarity=said))
    assert refused.rule == "complementarity"
    assert problem in refused.message


def test_an_open_advisory_is_refused_whatever_its_severity(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "safety", "advisories", to=[ADVISORY]))
    assert refused.rule == "advisories"
    assert "sort: LAB-1 (low) repeats secrets" in refused.message


def test_a_resolved_advisory_is_accepted(tmp_path: Path) -> None:
    resolved = [{**ADVISORY, "resolved": True}]
    assert judge(spoil_card(tmp_path, "sort", "safety", "advisories", to=resolved)).passed
