"""Restrictions only ever add up: the laws over a grid of cards, and each refusal by hand."""

import datetime
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from stages.eligibility.facts import Facts
from stages.eligibility.restrictions import Combined, combine, combine_all, refusals
from stages.eligibility.rules import judge
from stages.eligibility.use import INTENTS, Use
from tests.eligibility.family import everyone, only_refusal, spoil_card
from tests.eligibility.test_licences import READ

EARLY, LATE = datetime.date(2026, 1, 1), datetime.date(2027, 1, 1)
GRID = (
    Combined(),
    Combined(noncommercial=True),
    Combined(no_release=True),
    Combined(pii="pseudonymous"),
    Combined(pii="sensitive"),
    Combined(regions=frozenset({"EU", "US"})),
    Combined(regions=frozenset({"US", "JP"}), purposes=frozenset({"research"})),
    Combined(regions=frozenset({"CN"}), purposes=frozenset({"publish", "research"})),
    Combined(purposes=frozenset({"serve"})),
    Combined(consent_expires=EARLY),
    Combined(consent_expires=LATE, withdrawals=frozenset({"person-7"})),
    Combined(contaminated=frozenset({"mmlu"}), synthetic_from=frozenset({"other-model"})),
    Combined(unknown=frozenset({"pii"})),
)
TODAY = datetime.date(2026, 6, 1)


def allowed(combined: Combined, as_of: datetime.date | None) -> set[str]:
    return {intent for intent in INTENTS if not refusals(combined, Use(intent, as_of))}


def test_combination_is_idempotent_commutative_and_associative() -> None:
    for one, two, three in itertools.product(GRID, GRID, GRID):
        assert combine(one, one) == one
        assert combine(one, two) == combine(two, one)
        assert combine(combine(one, two), three) == combine(one, combine(two, three))
        assert combine(one, Combined()) == one


@pytest.mark.parametrize("as_of", [None, EARLY, TODAY, LATE])
def test_one_more_parent_never_allows_what_was_refused(as_of: datetime.date | None) -> None:
    for one, two, more in itertools.product(GRID, GRID, GRID):
        assert allowed(combine_all((one, two, more)), as_of) <= allowed(combine(one, two), as_of)


@pytest.mark.parametrize(
    ("combined", "intents"),
    [
        (Combined(), INTENTS),
        (Combined(noncommercial=True), ("research", "publish-noncommercial")),
        (Combined(no_release=True), ("research",)),
        (Combined(pii="pseudonymous"), ("research",)),
        (Combined(pii="personal"), ()),
        (Combined(pii="sensitive"), ()),
        (Combined(unknown=frozenset({"noncommercial"})), ()),
        (Combined(regions=frozenset({"EU"})), ("research",)),
        (Combined(regions=frozenset()), ()),
        (Combined(purposes=frozenset({"research", "serve"})), ("research", "serve")),
        (Combined(purposes=frozenset()), ()),
        (Combined(consent_expires=TODAY), INTENTS),
        (Combined(consent_expires=TODAY - datetime.timedelta(days=1)), ()),
        (Combined(withdrawals=frozenset({"person-7"})), ()),
        (Combined(contaminated=frozenset({"mmlu"}), synthetic_from=frozenset({"m"})), INTENTS),
    ],
)
def test_each_restriction_leaves_these_intents(combined: Combined, intents: tuple[str, ...]) -> None:
    assert allowed(combined, TODAY) == set(intents)


def test_an_expiring_consent_is_refused_when_the_request_states_no_day() -> None:
    assert refusals(Combined(consent_expires=LATE), Use("research")) == [
        "consent expires on 2027-01-01, and the request states no day to judge by"
    ]


@pytest.mark.parametrize("key", ["noncommercial", "no_release", "pii"])
def test_a_field_left_open_is_refused_and_its_parent_named(tmp_path: Path, key: str) -> None:
    refused = only_refusal(spoil_card(tmp_path, "recall", "restrictions", key, to=None))
    assert refused.rule == "restrictions"
    assert f"recall leaves {key} open" in refused.message


def test_a_restriction_of_one_parent_binds_the_merge(tmp_path: Path) -> None:
    facts = replace(spoil_card(tmp_path, "sort", "restrictions", "no_release", to=True), licences=READ)
    assert judge(facts).passed
    for intent in ("publish-noncommercial", "publish", "serve"):
        assert only_refusal(replace(facts, intent=intent)).message.startswith("no_release forbids")


def test_the_evidence_lists_what_does_not_refuse(passing: Facts) -> None:
    facts = everyone(passing, contaminated=("mmlu", "arc"), synthetic_from=("teacher",))
    found = next(finding for finding in judge(facts).findings if finding.rule == "restrictions")
    assert found.passed
    assert found.evidence["contaminated"] == ["arc", "mmlu"]
    assert found.evidence["synthetic_from"] == ["teacher"]
