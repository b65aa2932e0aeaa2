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
        ({"recall": 0.99}, "has no score on its niche sort"),
    ],
)
def test_a_parent_without_its_niche_is_refused(tmp_path: Path, scores: dict[str, float], reason: str) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "evaluation", "scores", to=scores))
    assert refused.rule == "niche"
    assert reason in refused.message


def test_a_parent_exactly_on_the_floor_has_its_niche(tmp_path: Path) -> None:
    scores = {"sort": 0.9, "recall": 0.5}
    assert judge(spoil_card(tmp_path, "sort", "evaluation", "scores", to=scores)).passed


@pytest.mark.parametrize("base_score", [0.97, 0.98])
def test_a_parent_no_better_than_the_base_is_refused(tmp_path: Path, base_score: float) -> None:
    scores = {"sort": base_score, "recall": 0.5}
    refused = only_refusal(spoil_card(tmp_path, "base", "evaluation", "scores", to=scores))
    assert refused.rule == "niche"
    assert "no more than the base" in refused.message


def test_a_base_without_a_score_on_the_niche_is_refused(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "base", "evaluation", "scores", to={"recall": 0.5}))
    assert refused.rule == "niche"
    assert "the base has no score on sort" in refused.message


def test_a_niche_that_the_suite_does_not_measure_is_refused(passing: Facts) -> None:
    refused = only_refusal(replace(passing, niches={"sort": ["sort"], "recall": ["sort"]}))
    assert refused.rule == "niche"
    assert "the suite has no task of skill recall with parent: recall" in refused.message


@pytest.mark.parametrize("said", ["", "   \n  ", "because", "x" * 20, "a b " * 2 + " " * 40])
def test_a_statement_of_twenty_characters_or_fewer_is_refused(passing: Facts, said: str) -> None:
    assert only_refusal(replace(passing, complementarity=said)).rule == "complementarity"


def test_a_statement_of_twenty_one_characters_is_accepted(passing: Facts) -> None:
    assert judge(replace(passing, complementarity="x" * 21)).passed


def test_an_open_advisory_is_refused_whatever_its_severity(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "safety", "advisories", to=[ADVISORY]))
    assert refused.rule == "advisories"
    assert "sort: LAB-1 (low) repeats secrets" in refused.message


def test_a_resolved_advisory_is_accepted(tmp_path: Path) -> None:
    resolved = [{**ADVISORY, "resolved": True}]
    assert judge(spoil_card(tmp_path, "sort", "safety", "advisories", to=resolved)).passed
