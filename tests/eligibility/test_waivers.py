"""A waiver covers one unknown of one parent, for research, until a day; and nothing else whatsoever."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import BadRequest
from stages.core.records.terms import INTENTS
from stages.eligibility.facts import Facts
from stages.eligibility.permission import restrictions, terms
from stages.eligibility.restrictions import OPEN
from stages.eligibility.rules import judge
from stages.eligibility.waivers import Waiver
from tests.eligibility.family import only_refusal, spoil_card
from tests.eligibility.test_lattice import READ
from tests.eligibility.test_stage import request

TODAY = datetime.date(2026, 6, 1)
WAIVER = Waiver("sort", "pii", "letters drawn at random, no people in them", "A. Reader", TODAY)


def waived(folder: Path, *waivers: Waiver, rule: str = "pii", to: object = None, **use: Any) -> Facts:
    """The family whose card of `sort` says `to` under `rule`, with waivers, asked on TODAY."""
    facts = spoil_card(folder, "sort", "restrictions", rule, to=to)
    return replace(facts, **{"waivers": waivers, "as_of": TODAY, "licences": READ, **use})


@pytest.mark.parametrize("rule", OPEN)
def test_an_open_field_is_refused_and_with_a_waiver_allowed_for_research(tmp_path: Path, rule: str) -> None:
    facts = waived(tmp_path, rule=rule)
    assert f"sort leaves {rule} open" in only_refusal(facts).message
    assert judge(replace(facts, waivers=(replace(WAIVER, rule=rule),))).passed


@pytest.mark.parametrize("intent", INTENTS[1:])
def test_a_waiver_allows_no_other_intent(tmp_path: Path, intent: str) -> None:
    refused = only_refusal(waived(tmp_path, WAIVER, intent=intent))
    assert "unknown, and waived for research alone: pii" in refused.message


def test_who_waived_what_why_and_until_when_is_kept(tmp_path: Path) -> None:
    facts = waived(tmp_path, WAIVER)
    kept = {
        "parent": "sort",
        "rule": "pii",
        "why": "letters drawn at random, no people in them",
        "by": "A. Reader",
        "until": "2026-06-01",
    }
    assert restrictions(facts).evidence["waivers"] == terms(facts)["waivers"] == [kept]
    assert [intent for intent, found in terms(facts)["decisions"].items() if found["allowed"]] == ["research"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"parent": "shift"}, "the card answers that field"),
        ({"parent": "nobody"}, "no such model is merged here (one of: base, sort, shift)"),
        ({"rule": "consent_expires"}, "only what a card leaves open can be waived"),
        ({"rule": "licences"}, "only what a card leaves open can be waived"),
        ({"until": TODAY - datetime.timedelta(days=1)}, "it ended on 2026-05-31, before 2026-06-01"),
    ],
)
def test_a_waiver_that_waives_nothing_is_refused(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    refused = only_refusal(waived(tmp_path, replace(WAIVER, **changes)))
    assert problem in refused.message
    assert "sort leaves pii open" in refused.message


def test_a_waiver_is_not_judged_by_the_clock(tmp_path: Path) -> None:
    refused = only_refusal(waived(tmp_path, WAIVER, as_of=None))
    assert "it ends on 2026-06-01, and the request states no day to judge by" in refused.message


def test_the_unknown_of_one_parent_is_not_waived_by_that_of_another(tmp_path: Path) -> None:
    facts = waived(tmp_path, WAIVER)
    card = facts.parents[1].card
    left_open = card.model_copy(update={"restrictions": card.restrictions.model_copy(update={"pii": None})})
    both = replace(facts, parents=(facts.parents[0], replace(facts.parents[1], card=left_open)))
    assert "shift leaves pii open" in only_refusal(both).message


@pytest.mark.parametrize(("rule", "to"), [("pii", "sensitive"), ("withdrawals", ["person-7"])])
def test_what_is_known_to_be_forbidden_cannot_be_waived(tmp_path: Path, rule: str, to: object) -> None:
    refused = only_refusal(waived(tmp_path, replace(WAIVER, rule=rule), rule=rule, to=to))
    assert "the card answers that field" in refused.message


def test_a_request_with_a_waiver_that_nobody_signed_is_refused_with_every_problem() -> None:
    unsigned = {"parent": "sort", "rule": "pii", "why": "because", "until": "soon", "who": "me"}
    with pytest.raises(BadRequest, match=r"(?s)why: .*by: missing.*until: .*who: unknown key"):
        request(waivers=[unsigned])
