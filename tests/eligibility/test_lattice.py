"""The licence lattice over the table that ships: its laws exhaustively, its decisions by hand."""

import itertools
from dataclasses import replace

import pytest

from stages.core.records.terms import INTENTS
from stages.eligibility.lattice import (
    NEUTRAL,
    PERMISSIONS,
    Level,
    Terms,
    combine,
    combine_all,
    refusals,
    text_only,
)
from stages.eligibility.licences import load_table
from stages.eligibility.use import MEMBERS_EU, Use, outside, touched
from tests.eligibility.family import LICENCES

TABLE = load_table(LICENCES)
ODD = (
    Terms(frozenset({"Unknown-1"}), (Level.unknown,) * len(PERMISSIONS), reviewed=False),
    Terms(frozenset({"Other-SA"}), share_alike=frozenset({"Other-SA"})),
    NEUTRAL,
)
ALL = (*TABLE.values(), *(replace(terms, reviewed=True) for terms in TABLE.values()), *ODD)
READ = {name: replace(terms, reviewed=True) for name, terms in TABLE.items()}
FEWER = (*READ.values(), TABLE["MIT"], TABLE["LicenseRef-llama-4"], *ODD)  # triples of ALL take a minute
OPAQUE = {"LicenseRef-other", "LicenseRef-unknown"}  # rows that stand for what nobody knows
# where every grant holds, for few users, under a name that pleases every row but Llama 3's
HOME = Use("research", regions=frozenset({"CH"}), monthly_users=1000, name="Llama of the lab")
USES = (
    HOME,
    Use("research"),
    Use("research", regions=frozenset({"DE"}), monthly_users=10**9, name="Merged"),
    Use("research", regions=frozenset({"WORLD"}), monthly_users=10**8, name="Llama 3 of the lab"),
)


def allowed(terms: Terms, use: Use = HOME) -> set[str]:
    return {intent for intent in INTENTS if not refusals(terms, replace(use, intent=intent))}


def test_combination_is_idempotent() -> None:
    assert all(combine(one, one) == one for one in ALL)


def test_combination_is_commutative() -> None:
    assert all(combine(one, other) == combine(other, one) for one, other in itertools.product(ALL, ALL))


def test_combination_is_associative() -> None:
    for one, two, three in itertools.product(FEWER, FEWER, FEWER):
        assert combine(combine(one, two), three) == combine(one, combine(two, three))


def test_nothing_at_all_is_neutral() -> None:
    assert all(combine(one, NEUTRAL) == one for one in ALL)


@pytest.mark.parametrize("use", USES)
def test_one_more_licence_never_allows_what_was_refused(use: Use) -> None:
    for one, more in itertools.product(ALL, ALL):
        assert allowed(combine(one, more), use) <= allowed(one, use)


def test_a_third_licence_never_allows_what_two_refused() -> None:
    for one, two, more in itertools.combinations_with_replacement(FEWER, 3):
        together = allowed(combine_all((one, two, more)))
        for first, second in ((one, two), (one, more), (two, more)):
            assert together <= allowed(combine(first, second))


@pytest.mark.parametrize("intent", INTENTS)
def test_no_order_of_three_licences_changes_a_reason(intent: str) -> None:
    for three in itertools.combinations(FEWER[::2], 3):
        told = {
            tuple(refusals(combine_all(order), replace(HOME, intent=intent)))
            for order in itertools.permutations(three)
        }
        assert len(told) == 1


def test_stating_less_of_the_use_never_allows_more() -> None:
    vague = Use("research")
    assert all(allowed(one, vague) <= allowed(one) for one in ALL if not one.begins)


@pytest.mark.parametrize(
    ("names", "intents"),
    [
        (["Apache-2.0"], INTENTS),
        (["MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0"], INTENTS),
        (["Apache-2.0", "CC-BY-SA-4.0"], INTENTS),
        (["Apache-2.0", "CC-BY-NC-4.0"], ("research", "publish-noncommercial")),
        (["CC-BY-SA-4.0", "CC-BY-NC-4.0"], ("research",)),  # share-alike must be passed on commercially
        (["CC-BY-NC-SA-4.0", "CC-BY-NC-4.0"], ("research", "publish-noncommercial")),
        (["CC-BY-SA-4.0", "CC-BY-NC-SA-4.0"], ()),
        (["CC-BY-ND-4.0", "MIT"], ("research",)),
        (["CC-BY-NC-ND-4.0"], ("research",)),
        (["GPL-3.0-only", "GPL-3.0-or-later", "MIT"], INTENTS),
        (["GPL-3.0-only", "AGPL-3.0-only"], ()),
        (["GPL-3.0-only", "LicenseRef-gemma"], ("research",)),  # rules of use are a further restriction
        (["GPL-3.0-only", "LicenseRef-llama-3.1"], ("research",)),
        (["LicenseRef-llama-3.1", "Apache-2.0"], INTENTS),
        (["LicenseRef-llama-3.1", "LicenseRef-llama-3.3", "LicenseRef-gemma"], INTENTS),
        (["LicenseRef-llama-2", "Apache-2.0"], INTENTS),
        (["LicenseRef-llama-2", "LicenseRef-tongyi-qianwen"], ()),  # each improves its own family alone
        (["LicenseRef-llama-2", "LicenseRef-llama-3"], ()),
        (["LicenseRef-llama-3"], ("research",)),  # the name at HOME begins with Llama, not with Llama 3
        (["LicenseRef-qwen-research"], ("research", "publish-noncommercial")),
        (["LicenseRef-mistral-research"], ("research", "publish-noncommercial")),
        (["LicenseRef-mistral-non-production"], ("research",)),
        (["LicenseRef-deepseek-1.0", "LicenseRef-bigcode-openrail-m", "OpenMDW-1.0"], INTENTS),
        (["MIT", "LicenseRef-other"], ()),
    ],
)
def test_reviewed_licences_allow_these_intents_and_no_others(
    names: list[str], intents: tuple[str, ...]
) -> None:
    assert allowed(combine_all(READ[name] for name in names)) == set(intents)


def test_rows_that_no_person_has_reviewed_allow_research_alone() -> None:
    assert all(allowed(terms) == {"research"} for name, terms in TABLE.items() if name not in OPAQUE)


def test_rows_for_what_nobody_knows_allow_nothing_even_if_somebody_reviewed_them() -> None:
    assert all(allowed(TABLE[name]) == allowed(READ[name]) == set() for name in OPAQUE)


def test_two_share_alikes_exclude_each_other() -> None:
    both = combine(READ["CC-BY-SA-4.0"], ODD[1])
    assert allowed(both) == set()
    assert refusals(both, HOME) == ["share-alikes exclude each other: CC-BY-SA-4.0, Other-SA"]


def test_an_unknown_permission_refuses_by_name() -> None:
    assert "use may not be permitted (unknown) by Unknown-1" in refusals(ODD[0], HOME)


LLAMA, LLAMA_4 = READ["LicenseRef-llama-3.1"], READ["LicenseRef-llama-4"]


@pytest.mark.parametrize("users", [700_000_000, 0])
def test_up_to_the_cap_everything_is_granted(users: int) -> None:
    assert allowed(LLAMA, replace(HOME, monthly_users=users)) == set(INTENTS)


def test_above_the_cap_nothing_is_granted_and_the_smaller_of_two_caps_counts() -> None:
    above = replace(HOME, monthly_users=700_000_001)
    assert allowed(LLAMA, above) == set()
    smaller = replace(NEUTRAL, user_cap=5)
    assert combine(LLAMA, smaller).user_cap == combine(smaller, LLAMA).user_cap == 5
    assert refusals(combine(LLAMA, smaller), replace(HOME, monthly_users=6)) == [
        "nothing is granted above 5 monthly users, and the request states more"
    ]


def test_a_cap_refuses_commercial_use_by_an_unknown_number_of_users() -> None:
    unknown = replace(HOME, monthly_users=None)
    assert allowed(LLAMA, unknown) == {"research", "publish-noncommercial"}


@pytest.mark.parametrize("name", [None, "Merged", "llama-merged", "My Llama", ""])
def test_a_name_that_is_missing_or_begins_otherwise_is_refused_for_release(name: str | None) -> None:
    assert allowed(LLAMA, replace(HOME, name=name)) == {"research"}


def test_two_beginnings_are_one_name_only_if_one_begins_with_the_other() -> None:
    both = combine(LLAMA, READ["LicenseRef-llama-3"])
    assert allowed(both, replace(HOME, name="Llama 3 of the lab")) == set(INTENTS)
    assert allowed(both) == {"research"}
    other = replace(NEUTRAL, begins=frozenset({"Alpaca"}))
    assert "no name begins with both 'Alpaca' and 'Llama'" in refusals(
        combine(LLAMA, other), replace(HOME, intent="publish")
    )


@pytest.mark.parametrize("place", ["EU", "FR", "WORLD"])
def test_where_nothing_is_granted_nothing_is_allowed_not_even_research(place: str) -> None:
    there = replace(HOME, regions=frozenset({"CH", place}))
    assert allowed(LLAMA_4, there) == set()
    assert allowed(text_only(LLAMA_4), there) == set(INTENTS)


def test_an_excluded_region_refuses_a_use_in_a_place_that_is_not_stated() -> None:
    assert refusals(LLAMA_4, Use("research")) == [
        "nothing is granted in EU, and the request states no regions"
    ]


def test_a_member_lies_in_its_union_and_a_union_in_no_member() -> None:
    assert len(MEMBERS_EU.split()) == 27
    assert touched(["EU", "US"], frozenset({"MT"})) == ["EU"]
    assert touched(["MT"], frozenset({"EU"})) == ["MT"]
    assert outside(frozenset({"DE", "CH"}), frozenset({"EU"})) == ["CH"]
    assert outside(frozenset({"EU"}), frozenset({"DE"})) == ["EU"]
    assert outside(frozenset({"WORLD"}), frozenset({"EU", "US"})) == ["WORLD"]


def test_share_alike_names_every_further_restriction() -> None:
    both = combine(READ["CC-BY-SA-4.0"], LLAMA_4)
    [reason] = refusals(both, replace(HOME, intent="publish-noncommercial"))
    assert reason == (
        "CC-BY-SA-4.0 allows no further restriction, and there is the rules of use at "
        "https://www.llama.com/llama4/use-policy; a name that begins with 'Llama'; the cap of 700000000 "
        "users; the exclusion of EU"
    )
