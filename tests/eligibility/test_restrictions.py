"""Restrictions only ever add up: the laws over a grid of cards, and each refusal by hand."""

import datetime
import itertools
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from stages.core.records.card import PII, Restrictions
from stages.eligibility.facts import Facts
from stages.eligibility.restrictions import OPEN, Combined, combine, combine_all, of, refusals
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
    Combined(waived=frozenset({"pii", "regions"})),
)
TODAY = datetime.date(2026, 6, 1)
SOME = st.frozensets(st.sampled_from(["EU", "DE", "US", "JP"]))
NAMES = st.frozensets(st.sampled_from(["one", "two", "three"]))
DAYS = st.none() | st.dates(EARLY, LATE)
ANY = st.builds(
    Combined,
    noncommercial=st.booleans(),
    no_release=st.booleans(),
    pii=st.sampled_from(PII),
    regions=st.none() | SOME,
    purposes=st.none() | st.frozensets(st.sampled_from(INTENTS)),
    consent_expires=DAYS,
    withdrawals=NAMES,
    contaminated=NAMES,
    synthetic_from=NAMES,
    unknown=st.frozensets(st.sampled_from(OPEN)),
    waived=st.frozensets(st.sampled_from(OPEN)),
)
CARDS = st.builds(
    Restrictions,
    noncommercial=st.none() | st.booleans(),
    no_release=st.none() | st.booleans(),
    pii=st.none() | st.sampled_from(PII),
    regions=st.none() | SOME.map(tuple),
    purposes=st.none() | st.frozensets(st.sampled_from(INTENTS)).map(tuple),
    consent_expires=DAYS,
    withdrawals=st.none() | NAMES.map(tuple),
    contaminated=st.none() | NAMES.map(tuple),
    synthetic_from=st.none() | NAMES.map(tuple),
)
ANY_USE = st.builds(Use, st.sampled_from(INTENTS), DAYS, st.none() | SOME)
QUIET = hypothesis.settings(max_examples=300, deadline=None, derandomize=True)


def allowed(combined: Combined, as_of: datetime.date | None) -> set[str]:
    return {intent for intent in INTENTS if not refusals(combined, Use(intent, as_of))}


def test_combination_is_idempotent_commutative_and_associative() -> None:
    for one, two, three in itertools.product(GRID, GRID, GRID):
        assert combine(one, one) == one
        assert combine(one, two) == combine(two, one)
        assert combine(combine(one, two), three) == combine(one, combine(two, three))
        assert combine(one, Combined()) == one


@QUIET
@hypothesis.given(one=ANY, two=ANY, three=ANY)
def test_the_laws_hold_for_any_restrictions(one: Combined, two: Combined, three: Combined) -> None:
    assert combine(one, one) == one
    assert combine(one, two) == combine(two, one)
    assert combine(combine(one, two), three) == combine(one, combine(two, three))
    assert combine(one, Combined()) == one


@QUIET
@hypothesis.given(one=ANY, more=ANY, use=ANY_USE)
def test_no_further_restriction_whatever_turns_a_refusal_into_a_permission(
    one: Combined, more: Combined, use: Use
) -> None:
    assert not refusals(one, use) or refusals(combine(one, more), use)


@QUIET
@hypothesis.given(card=CARDS, waived=st.frozensets(st.sampled_from(OPEN)), use=ANY_USE)
def test_a_waiver_changes_nothing_but_the_unknowns_of_research(
    card: Restrictions, waived: frozenset[str], use: Use
) -> None:
    before, after = refusals(of(card), use), refusals(of(card, waived), use)
    left_open = {name for name in OPEN if getattr(card, name) is None}
    if use.intent != "research" or not waived & left_open:
        assert bool(before) == bool(after)
    assert {reason for reason in before if not reason.startswith("unknown")} <= set(after)


@pytest.mark.parametrize(
    ("allowed_in", "used_in", "intents"),
    [
        ({"EU"}, {"DE", "FR"}, INTENTS),
        ({"EU"}, {"DE", "CH"}, ()),
        ({"DE"}, {"EU"}, ()),
        ({"EU", "US"}, {"WORLD"}, ()),
        ({"JP"}, None, ("research",)),
    ],
)
def test_a_use_in_stated_places_is_held_to_the_regions_allowed(
    allowed_in: set[str], used_in: set[str] | None, intents: tuple[str, ...]
) -> None:
    combined = Combined(regions=frozenset(allowed_in))
    regions = None if used_in is None else frozenset(used_in)
    found = {intent for intent in INTENTS if not refusals(combined, Use(intent, regions=regions))}
    assert found == set(intents)


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


@pytest.mark.parametrize("key", OPEN)
def test_a_field_left_open_is_refused_and_its_parent_named(tmp_path: Path, key: str) -> None:
    refused = only_refusal(spoil_card(tmp_path, "shift", "restrictions", key, to=None))
    assert refused.rule == "restrictions"
    assert f"shift leaves {key} open" in refused.message


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
