"""The licence lattice over the table that ships: its laws exhaustively, its decisions by hand."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from stages.core.errors import BadRequest
from stages.eligibility.facts import Facts
from stages.eligibility.licences import (
    NEEDS,
    NEUTRAL,
    PERMISSIONS,
    Level,
    Terms,
    alternatives,
    combine,
    combine_all,
    decide,
    load_table,
    refusals,
)
from stages.eligibility.rules import judge
from tests.eligibility.family import LICENCES, only_refusal, spoil_card

TABLE = load_table(LICENCES)
ODD = (
    Terms(frozenset({"Unknown-1"}), (Level.unknown,) * len(PERMISSIONS), reviewed=False),
    Terms(frozenset({"Other-SA"}), share_alike=frozenset({"Other-SA"})),
    NEUTRAL,
)
ALL = (*TABLE.values(), *(replace(terms, reviewed=True) for terms in TABLE.values()), *ODD)
READ = {name: replace(terms, reviewed=True) for name, terms in TABLE.items()}
INTENTS = tuple(NEEDS)


def allowed(terms: Terms) -> set[str]:
    return {intent for intent in INTENTS if not refusals(terms, intent)}


def test_combination_is_idempotent() -> None:
    assert all(combine(one, one) == one for one in ALL)


def test_combination_is_commutative() -> None:
    assert all(combine(one, other) == combine(other, one) for one, other in itertools.product(ALL, ALL))


def test_combination_is_associative() -> None:
    for one, two, three in itertools.product(ALL, ALL, ALL):
        assert combine(combine(one, two), three) == combine(one, combine(two, three))


def test_nothing_at_all_is_neutral() -> None:
    assert all(combine(one, NEUTRAL) == one for one in ALL)


def test_one_more_licence_never_allows_what_was_refused() -> None:
    for one, two, more in itertools.product(ALL, ALL, ALL):
        assert allowed(combine_all((one, two, more))) <= allowed(combine(one, two))


def test_one_more_parent_with_a_choice_never_allows_what_was_refused() -> None:
    parts = [[one, other] for one, other in itertools.combinations(ALL[7:], 2)][:24]
    for first, second, more in itertools.permutations(parts[::3], 3):
        for intent in INTENTS:
            if decide([first, second], intent)[1]:
                assert decide([first, more, second], intent)[1]


@pytest.mark.parametrize(
    ("names", "intents"),
    [
        (["Apache-2.0"], INTENTS),
        (["MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0"], INTENTS),
        (["Apache-2.0", "CC-BY-SA-4.0"], INTENTS),
        (["Apache-2.0", "CC-BY-NC-4.0"], ("research", "publish-noncommercial")),
    ],
)
def test_reviewed_licences_allow_these_intents_and_no_others(
    names: list[str], intents: tuple[str, ...]
) -> None:
    assert allowed(combine_all(READ[name] for name in names)) == set(intents)


def test_rows_that_no_person_has_reviewed_allow_research_alone() -> None:
    assert all(allowed(terms) == {"research"} for terms in TABLE.values())


def test_two_share_alikes_exclude_each_other() -> None:
    both = combine(READ["CC-BY-SA-4.0"], ODD[1])
    assert allowed(both) == set()
    assert refusals(both, "research") == ["share-alikes exclude each other: CC-BY-SA-4.0, Other-SA"]


def test_an_unknown_permission_refuses_by_name() -> None:
    assert "use may not be permitted (unknown) by Unknown-1" in refusals(ODD[0], "research")


@pytest.mark.parametrize(
    ("expression", "offered"),
    [
        ("MIT", ["MIT"]),
        ("mit", ["MIT"]),
        ("MIT AND Apache-2.0", ["Apache-2.0 AND MIT"]),
        ("MIT OR Apache-2.0", ["MIT", "Apache-2.0"]),
        ("CC0-1.0 AND (MIT OR Apache-2.0)", ["CC0-1.0 AND MIT", "Apache-2.0 AND CC0-1.0"]),
    ],
)
def test_an_expression_offers_its_choices_in_the_order_written(expression: str, offered: list[str]) -> None:
    found, problems = alternatives(expression, TABLE)
    assert [" AND ".join(sorted(terms.identifiers)) for terms in found] == offered
    assert problems == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "no licence is stated"),
        ("   ", "no licence is stated"),
        ("MIT MIT", "is no SPDX expression"),
        ("MIT AND", "is no SPDX expression"),
        ("(MIT", "is no SPDX expression"),
        ("x" * 1001, "1001 characters"),
        ("other", "other: not in conf/licences"),
        ("NOASSERTION", "NOASSERTION: not in conf/licences"),
        ("MIT OR LicenseRef-house", "LicenseRef-house: not in conf/licences"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "not in conf/licences"),
        (" AND ".join(["(MIT OR Apache-2.0)"] * 9), "more than 256 combinations"),
    ],
)
def test_an_expression_that_is_no_known_licence_permits_nothing(expression: str, problem: str) -> None:
    found, problems = alternatives(expression, TABLE)
    assert found == []
    assert problem in problems[0]


def test_the_first_choice_that_allows_the_intent_is_taken() -> None:
    parts = [[READ["CC-BY-NC-4.0"], READ["MIT"]], [READ["Apache-2.0"]]]
    assert decide(parts, "publish") == ((READ["MIT"], READ["Apache-2.0"]), [])
    assert decide(parts, "research") == ((READ["CC-BY-NC-4.0"], READ["Apache-2.0"]), [])


def test_a_refusal_names_the_reasons_of_the_first_choice() -> None:
    chosen, reasons = decide([[READ["CC-BY-NC-4.0"], ODD[0]]], "serve")
    assert chosen == (READ["CC-BY-NC-4.0"],)
    assert reasons == ["commercial is not permitted by CC-BY-NC-4.0"]


def test_the_rule_records_the_expression_and_its_obligations(tmp_path: Path) -> None:
    facts = spoil_card(
        tmp_path, "sort", "licence", to={"weights": "CC-BY-SA-4.0 OR MIT", "data": ["CC-BY-4.0"]}
    )
    found = next(finding for finding in judge(facts).findings if finding.rule == "licences")
    assert found.passed
    assert found.evidence["expression"] == "Apache-2.0 AND CC-BY-4.0 AND CC-BY-SA-4.0 AND CC0-1.0"
    assert found.evidence["share_alike"] == ["CC-BY-SA-4.0"]
    assert "attribute the authors" in found.evidence["obligations"]
    assert {
        label["of"]: label["chosen"] for label in found.evidence["stated"] if label["parent"] == "sort"
    } == {
        "weights": "CC-BY-SA-4.0",
        "data": "CC-BY-4.0",
    }


@pytest.mark.parametrize(
    ("licence", "reason"),
    [
        ({"weights": "", "data": ["CC0-1.0"]}, "sort (weights): no licence is stated"),
        ({"weights": "MIT", "data": []}, "sort (data): no licence is stated"),
        ({"weights": "MIT", "data": ["CC0-1.0", "unknown"]}, "sort (data): unknown: not in conf/licences"),
    ],
)
def test_a_licence_that_is_not_known_is_refused(tmp_path: Path, licence: object, reason: str) -> None:
    refused = only_refusal(spoil_card(tmp_path, "sort", "licence", to=licence))
    assert refused.rule == "licences"
    assert reason in refused.message


def test_the_licence_of_the_base_counts_too(tmp_path: Path) -> None:
    refused = only_refusal(spoil_card(tmp_path, "base", "licence", "weights", to=""))
    assert "base (weights): no licence is stated" in refused.message


def test_a_noncommercial_parent_is_refused_for_serving(tmp_path: Path) -> None:
    facts = spoil_card(tmp_path, "sort", "licence", "weights", to="CC-BY-NC-4.0")
    refused = only_refusal(replace(facts, intent="serve", licences=READ))
    assert refused.rule == "licences"
    assert "commercial is not permitted by Apache-2.0 AND CC-BY-NC-4.0 AND CC0-1.0" in refused.message


def test_publishing_on_unreviewed_rows_is_refused(passing: Facts) -> None:
    assert "no person has reviewed" in only_refusal(replace(passing, intent="publish")).message
    assert judge(replace(passing, intent="publish", licences=READ)).passed


def test_every_malformed_row_is_reported_with_its_file(tmp_path: Path) -> None:
    good = (LICENCES / "MIT.yaml").read_text()
    (tmp_path / "MIT.yaml").write_text(good.replace("use: yes", "use: maybe"))
    (tmp_path / "ISC.yaml").write_text(good)
    (tmp_path / "X11.yaml").write_text("[")
    with pytest.raises(BadRequest, match=r"(?s)ISC\.yaml: spdx.*MIT\.yaml.*use.*X11\.yaml"):
        load_table(tmp_path)


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="holds no licence"):
        load_table(tmp_path)
