"""Families of tests: who is in them, what they adjust, and what the strict burden of proof makes of them."""

import pytest

from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.multiplicity import holm
from stages.core.scoring.paired import detectable_rate
from stages.pareto.answer import answer
from stages.pareto.claims import HEADLINE
from stages.pareto.outcomes import decide
from stages.pareto.trial import Trial, trial
from tests.pareto.memory import PARENTS, answers, holding, study, task

LEVEL = 0.025


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    # .01 × 4; .02 × 3; then .0225 × 2 = .045 is raised to its predecessor's .06, and 0.5 stays
    assert holm({"a": 0.0225, "b": 0.01, "c": 0.5, "d": 0.02}) == pytest.approx(
        {"a": 0.06, "b": 0.04, "c": 0.5, "d": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def judged(merges: dict[str, TaskEvidence], reject: str = "shown_loss", margin: float = 0.1) -> Trial:
    """A study of some merges on one rare skill of 100 items, which both parents have."""
    found = {name: {"upper": answers([1] * 100)} for name in ("base", *PARENTS)}
    found |= {name: {"upper": given} for name, given in merges.items()}
    policy = holding(reject, rare={"margin": margin, "against": "worse"})
    return trial(study([task("upper", "rare", [{}] * 100)], found), policy)


def losing(count: int) -> TaskEvidence:
    return answers([0] * count + [1] * (100 - count))


def test_a_loss_that_is_shown_by_itself_is_not_shown_among_many() -> None:
    # 11 losses of 100: p = 2^-11 = .00049, over the margin of .10; alone it is lost, one of 60 it is not.
    alone = judged({"one": losing(11)})
    assert alone.checks["one"][0].state == "lost"
    many = judged({"one": losing(11), **{f"other {n}": losing(0) for n in range(59)}})
    check = many.checks["one"][0]
    assert (check.state, check.paired.loss_p) == ("unproven", 2**-11)
    assert check.adjusted_p == pytest.approx(60 * 2**-11)
    assert many.losses_tested == 60


def test_what_is_detectable_is_stated_at_the_strictest_level_of_the_family() -> None:
    found = judged({f"merge {n}": losing(0) for n in range(8)})
    assert found.checks["merge 0"][0].detectable == detectable_rate(0.0, 100, found.policy.level / 8)


def test_a_merge_that_kept_everything_by_itself_may_have_done_so_by_chance_among_many() -> None:
    # No loss in 100 items: p = 2 · 0.94^100 = .0041 that 6 % are lost; among 30 candidates .12.
    alone = judged({"one": losing(0)}, "unproven", margin=0.06)
    assert decide(alone)["one"].name == "candidate"
    many = judged({f"merge {n}": losing(0) for n in range(30)}, "unproven", margin=0.06)
    assert many.proofs["merge 0"].p == alone.proofs["one"].p < LEVEL
    assert many.proofs["merge 0"].adjusted_p == pytest.approx(30 * alone.proofs["one"].p)
    outcome = decide(many)["merge 0"]
    assert (outcome.name, outcome.rule) == ("rejected", "unproven")
    assert outcome.reasons[0].startswith(
        "not shown to have kept everything: p 0.0041 by itself, 0.12 as one of 30"
    )
    assert "merge 0" not in many.non_dominated


def test_a_proof_is_as_weak_as_the_weakest_of_its_checks() -> None:
    found = judged({"one": losing(3)}, margin=0.12)
    assert found.proofs["one"].p == max(one.kept_p for one in found.checks["one"] if one.kept_p is not None)


def test_a_claim_counts_every_candidate_and_niche() -> None:
    found = judged({"one": losing(0), "two": losing(0)})
    claims = [one for made in found.claims.values() for one in made]
    assert [(one.subject, one.on) for one in claims] == [
        (name, parent) for name in ("one", "two") for parent in PARENTS
    ]
    assert all((one.p, one.adjusted_p, one.shown, one.difference) == (1.0, 1.0, False, 0.0) for one in claims)
    assert claims[0].detectable == detectable_rate(0.0, 40, found.policy.level / 4)


def test_a_gain_over_a_parent_on_its_own_niche_is_claimed_with_both_p_values() -> None:
    half = {name: {"niche pico-a": answers([1, 0] * 20)} for name in ("pico-a",)}
    found = {name: {"upper": answers([1] * 100), **half.get(name, {})} for name in ("base", *PARENTS, "one")}
    tried = trial(study([task("upper", "rare", [{}] * 100)], found), holding())
    better = tried.claims["one"][0]
    assert (better.against, better.difference, better.p) == ("pico-a", 0.5, 2**-20)
    assert (better.adjusted_p, better.shown) == (2**-19, True)


def test_a_router_is_a_baseline_to_beat_and_a_bound_is_none() -> None:
    found = {name: {"upper": answers([1] * 100)} for name in ("base", *PARENTS, "router", "oracle", "one")}
    tried = trial(study([task("upper", "rare", [{}] * 100)], found), holding())
    assert tried.ensemble == "router"
    assert set(tried.non_dominated) == {"base", *PARENTS, "router", "one"}
    assert tried.non_dominated["one"] == 1.0  # as good, in one model of two
    assert tried.non_dominated["router"] == 0.0
    assert "oracle" not in tried.checks
    claim = tried.claims["one"][-1]
    assert (claim.on, claim.against, claim.p) == (HEADLINE, "router", 1.0)


def test_where_a_router_wins_the_answer_and_its_rung_say_router() -> None:
    found = {name: {"upper": answers([1] * 100)} for name in ("base", *PARENTS, "router")}
    found["one"] = {"upper": losing(90)}
    tried = trial(
        study([task("upper", "rare", [{}] * 100)], found), holding(rare={"margin": 0.1, "against": "worse"})
    )
    said = answer(tried, decide(tried))
    assert (said.name, said.rung, said.subject) == ("the ensemble wins", "router", "router")
    assert said.sentence.startswith("The router wins: router recovers 100")
