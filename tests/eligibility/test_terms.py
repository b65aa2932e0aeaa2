"""What the stage says of every intent, which tasks nothing may be chosen by, and what a request may state."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.core.records import terms as records
from stages.core.records.terms import INTENTS, KEY
from stages.eligibility.__main__ import run
from stages.eligibility.facts import Facts
from stages.eligibility.permission import contaminated, licences, terms
from stages.eligibility.rules import judge
from tests.eligibility.family import LICENCES, NAMES, acquired, everyone, only_refusal, spoil_card
from tests.eligibility.test_lattice import READ
from tests.eligibility.test_stage import request
from tests.parents import tiny

TASKS = {"sort": "sort", "shift": "shift", "sort_again": "sort", "copy": "copy"}


def test_the_decision_for_every_intent_is_written_beside_the_verdict_on_one(tmp_path: Path) -> None:
    for name in NAMES:
        acquired(tmp_path / name)
    assert run(request(), tmp_path, LICENCES, tmp_path / "out.json").passed
    written = json.loads((tmp_path / "out.json").read_text())[KEY]
    assert written["licence"]["expression"] == "Apache-2.0 AND CC0-1.0"
    assert {intent: found["allowed"] for intent, found in written["decisions"].items()} == {
        "research": True,
        "publish-noncommercial": False,
        "publish": False,
        "serve": False,
    }
    assert written["hub"] == "apache-2.0"


@pytest.mark.parametrize("intent", INTENTS)
def test_the_decision_on_the_requested_intent_is_that_of_the_rules(passing: Facts, intent: str) -> None:
    facts = replace(passing, intent=intent)
    rules = {finding.rule: finding.passed for finding in judge(facts).findings}
    assert terms(facts)["decisions"][intent]["allowed"] == (rules["licences"] and rules["restrictions"])


def test_no_intent_is_allowed_where_a_licence_is_not_known(tmp_path: Path) -> None:
    found = terms(spoil_card(tmp_path, "sort", "licence", "weights", to="LicenseRef-house"))
    assert found["licence"] is found["hub"] is None
    assert [decision["allowed"] for decision in found["decisions"].values()] == [False] * 4
    assert "LicenseRef-house: not in conf/licences" in found["decisions"]["research"]["because"][0]


def test_the_request_chooses_over_the_card(tmp_path: Path) -> None:
    stated = {"weights": "MIT OR CC-BY-NC-4.0", "data": ["CC0-1.0"]}
    chosen = {"MIT OR CC-BY-NC-4.0": "CC-BY-NC-4.0"}
    facts = spoil_card(tmp_path, "sort", "licence", to={**stated, "chosen": chosen})
    facts = replace(facts, licences=READ, intent="publish")
    assert "commercial is not permitted" in only_refusal(facts).message
    assert judge(replace(facts, licence_choices={"MIT OR CC-BY-NC-4.0": "MIT"})).passed


def test_a_choice_of_an_expression_that_no_card_states_is_refused(passing: Facts) -> None:
    refused = only_refusal(replace(passing, licence_choices={"MIT OR ISC": "MIT"}))
    assert "parents.licence_choices chooses of 'MIT OR ISC', which no card states" in refused.message


def test_a_choice_that_nobody_recorded_is_refused_and_says_what_is_offered(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "licence", "weights", to="MIT OR Apache-2.0"))
    assert "sort (weights): 'MIT OR Apache-2.0' offers a choice, and none is recorded" in refused.message
    assert "parents.licence_choices" in refused.message


def test_the_hubs_spelling_is_answered_with_the_row_that_is_meant(tmp_path: Path) -> None:
    facts = replace(
        spoil_card(tmp_path, "sort", "licence", "weights", to="llama3.1"),
        spellings={"llama3.1": "LicenseRef-llama-3.1"},
    )
    assert (
        "llama3.1: not in conf/licences; did you mean 'LicenseRef-llama-3.1'?" in only_refusal(facts).message
    )


@pytest.mark.parametrize(
    ("config", "passes"), [({}, True), ({"vision_config": {}}, False), ({"audio_config": None}, False)]
)
def test_the_clause_on_multimodal_models_holds_for_models_that_read_more_than_text(
    tmp_path: Path, config: dict[str, Any], passes: bool
) -> None:
    facts = spoil_card(tmp_path, "sort", "licence", "weights", to="LicenseRef-llama-4")
    first = replace(facts.parents[0], config={**facts.parents[0].config, **config})
    facts = replace(facts, parents=(first, facts.parents[1]), regions=frozenset({"FR"}))
    assert licences(facts).passed == passes


def test_a_licence_file_that_is_another_licence_than_the_card_says_is_refused(tmp_path: Path) -> None:
    facts = spoil_card(tmp_path, "sort", "licence", "weights", to="MIT")
    record = facts.parents[0].manifest.files["config.json"]
    facts.parents[0].manifest.files["LICENSE"] = record
    known = {record.sha256: "LicenseRef-llama-3.1"}
    refused = only_refusal(replace(facts, licence_texts=known))
    assert (
        "sort: its LICENSE is the text of LicenseRef-llama-3.1, which its card does not name"
        in refused.message
    )
    assert judge(replace(facts, licence_texts={record.sha256: "MIT"})).passed


@pytest.mark.parametrize(
    ("named", "tasks"),
    [
        ("copy", {"copy"}),
        ("Copy", {"copy"}),
        ("sort_again", {"sort_again"}),
        ("mmlu", set()),
        ("tiny@2", set()),
    ],
)
def test_a_task_that_was_seen_in_training_is_named_and_refuses_nothing(
    passing: Facts, named: str, tasks: set[str]
) -> None:
    facts = replace(everyone(passing, contaminated=(named,)), tasks=TASKS)
    assert contaminated(facts) == tasks
    assert judge(facts).passed
    assert records.contaminated({"passed": True, KEY: terms(facts)}) == tasks


@pytest.mark.parametrize("named", ["shift", "tiny", "tiny@1", "SHIFT"])
def test_a_parent_whose_whole_niche_was_seen_in_training_is_refused(passing: Facts, named: str) -> None:
    facts = replace(everyone(passing, contaminated=(named,)), tasks=TASKS)
    refused = only_refusal(facts)
    assert refused.rule == "restrictions"
    assert "shift: all tasks of its niche are contaminated (shift)" in refused.message


def test_a_niche_with_a_clean_task_left_is_still_a_niche(passing: Facts) -> None:
    facts = replace(
        everyone(passing, contaminated=("sort_again",)),
        tasks=TASKS,
        niches={**passing.niches, "sort": ["sort"]},
    )
    assert judge(facts).passed


def test_where_eligibility_refused_nothing_is_left_out_for_nothing_is_chosen(passing: Facts) -> None:
    tree = terms(replace(everyone(passing, contaminated=("copy",)), tasks=TASKS))
    assert records.contaminated({"passed": False, KEY: tree}) == frozenset()
    assert records.contaminated({"passed": True}) == frozenset()


def test_the_request_states_where_how_many_and_under_which_name(tmp_path: Path) -> None:
    for name in NAMES:
        card = tiny.card(name, tiny.safetensors(tiny.SHAPES))
        card["licence"] = {"weights": "LicenseRef-llama-3.1", "data": ["CC0-1.0"]}
        acquired(tmp_path / name, card=card)
    stated = request(
        intent="publish", regions=["DE"], monthly_users=10, release_name="Llama sorted", as_of="2026-06-01"
    )
    run(stated, tmp_path, LICENCES, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())[KEY]
    assert written["use"] == {
        "intent": "publish",
        "as_of": "2026-06-01",
        "regions": ["DE"],
        "monthly_users": 10,
        "release_name": "Llama sorted",
    }
    [reason] = written["decisions"]["publish"]["because"]
    assert reason.startswith("no person has reviewed all rows")
    assert written["hub"] == "llama3.1"
