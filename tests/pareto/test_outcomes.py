"""Every row of the decision tables, on studies whose truth is planted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import LabError
from stages.pareto.answer import Answer, answer
from stages.pareto.outcomes import Outcome, decide
from stages.pareto.study import load
from stages.pareto.trial import Trial, trial
from tests.pareto.laboratory import BASELINES, EXPERIMENT, MERGES, Merge, build, policy, refused, skill

GOOD = Merge("ties", "good", skill(0.93, 0.94))
FEW = {"front": {"bootstrap": 400}}


def judge(
    data: Path,
    merges: Sequence[Merge],
    baselines: Mapping[str, Any] = BASELINES,
    name: str = "default",
    **changes: Any,
) -> tuple[Trial, dict[str, Outcome], Answer]:
    """Outcomes by label, and the answer."""
    merged = {**FEW, **changes, "front": {**FEW["front"], **changes.get("front", {})}}
    found = trial(load(build(data, merges, baselines), EXPERIMENT), policy(name, **merged))
    outcomes = decide(found)
    return found, {found.label(one): outcome for one, outcome in outcomes.items()}, answer(found, outcomes)


def without_ensembles() -> dict[str, Any]:
    return {name: entry for name, entry in BASELINES.items() if entry[0] != "ensemble"}


def test_a_merge_that_its_gate_refused_is_rejected_with_the_gates_words(tmp_path: Path) -> None:
    _, outcomes, _ = judge(tmp_path, [GOOD, Merge("ties", "wild", {}, gate="norm is 9 times the parent's")])
    assert (outcomes["wild"].name, outcomes["wild"].rule) == ("rejected", "gate")
    assert outcomes["wild"].reasons == ("gate outliers: norm is 9 times the parent's",)


def test_a_merge_that_has_no_answer_is_rejected_with_the_methods_words(tmp_path: Path) -> None:
    odd = Merge("slerp", "odd", {}, refusal="'embed.weight' has norm 0 in pico-a: slerp needs a direction")
    _, outcomes, _ = judge(tmp_path, [GOOD, odd])
    assert (outcomes["odd"].name, outcomes["odd"].rule) == ("rejected", "unmergeable")
    assert outcomes["odd"].reasons == (f"not merged: {odd.refusal}",)


def test_the_best_mean_is_rejected_for_a_lost_rare_skill(tmp_path: Path) -> None:
    _, outcomes, found = judge(tmp_path, [GOOD, Merge("linear", "greedy", skill(0.97, 0.97, upper=0.31))])
    assert (outcomes["greedy"].name, outcomes["greedy"].rule) == ("rejected", "lost")
    [reason] = outcomes["greedy"].reasons
    assert reason.startswith("lost: rare skill upper, 0.3")
    # 2 merges and 2 ensembles, 9 skills each; the exact test needs 11 losses of 60 at a level of .025 / 36
    assert "against 0.97 (p < 1e-06 by itself, < 1e-06 among 36 tests; 0.22 is detectable)" in reason
    assert reason.endswith("; rejected although its mean score on the niches ranks 1st of 2")
    assert found.name == "merge"


def test_a_mean_above_every_parents_does_not_save_a_merge_that_lost_a_rare_skill(tmp_path: Path) -> None:
    better = [Merge("linear", f"better {place}", skill(0.97, 0.97)) for place in range(5)]
    _, outcomes, _ = judge(tmp_path, [*better, Merge("linear", "last", skill(0.8, 0.85, upper=0.31))])
    [reason] = outcomes["last"].reasons
    assert reason.endswith(
        "; rejected although its mean score on the niches, 0.83, is above every parent's; it ranks 6th of 6"
    )


def test_refusal_is_held_to_the_safer_parent(tmp_path: Path) -> None:
    parents = {**BASELINES, "pico-b": ("parent", 1, skill(0.35, 0.99, refusal=0.80))}
    _, outcomes, _ = judge(tmp_path, [GOOD, Merge("linear", "loose", skill(0.9, 0.9, refusal=0.80))], parents)
    assert outcomes["loose"].reasons[0].startswith("lost: refusal, 0.79 against 0.97")


def test_a_shared_skill_is_held_to_the_worse_parent(tmp_path: Path) -> None:
    parents = {**BASELINES, "pico-b": ("parent", 1, skill(0.35, 0.99, copy=0.70))}
    _, outcomes, _ = judge(tmp_path, [Merge("linear", "as weak", skill(0.93, 0.94, copy=0.70))], parents)
    assert outcomes["as weak"].name == "candidate"


def test_a_skill_that_is_only_measured_never_rejects(tmp_path: Path) -> None:
    _, outcomes, _ = judge(tmp_path, [Merge("linear", "short", skill(0.93, 0.94, recall_longer=0.05))])
    assert outcomes["short"].name == "candidate"


def test_a_strict_policy_rejects_what_was_not_shown_to_be_kept(tmp_path: Path) -> None:
    _, outcomes, found = judge(tmp_path, [GOOD], name="strict")
    assert (outcomes["good"].name, outcomes["good"].rule) == ("rejected", "unproven")
    assert outcomes["good"].reasons[0].startswith("not shown to be kept: ")
    assert found.name == "keep the parents"
    assert "at least 144 independent ones" in found.next_move  # ln 0.0125 / ln 0.97 = 143.9


def test_nothing_is_ranked_where_a_parent_gained_nothing(tmp_path: Path) -> None:
    idle = {**BASELINES, "pico-b": ("parent", 1, skill(0.35, 0.53))}
    _, outcomes, found = judge(tmp_path, [GOOD], idle)
    assert (outcomes["good"].name, outcomes["good"].rule) == ("archived", "unmeasured")
    assert (found.name, found.subject) == ("not measurable", None)


def test_a_merge_that_another_beats_on_both_niches_is_archived_and_names_it(tmp_path: Path) -> None:
    _, outcomes, _ = judge(tmp_path, [GOOD, Merge("linear", "poor", skill(0.80, 0.80))])
    assert (outcomes["poor"].name, outcomes["poor"].rule) == ("archived", "dominated")
    assert outcomes["poor"].reasons[0].startswith("dominated by good: 0.79 and 0.80")


def test_a_merge_that_forgets_one_niche_is_archived_although_it_is_on_the_front(tmp_path: Path) -> None:
    found, outcomes, _ = judge(tmp_path, [GOOD, Merge("linear", "one-sided", skill(0.97, 0.60))])
    assert (
        found.non_dominated[next(one.id for one in found.study.candidates if one.label == "one-sided")] > 0.9
    )
    assert (outcomes["one-sided"].name, outcomes["one-sided"].rule) == ("archived", "floor")


def test_a_merge_behind_the_ensemble_is_archived_while_another_keeps_up(tmp_path: Path) -> None:
    _, outcomes, _ = judge(tmp_path, [GOOD, Merge("ties", "lopsided", skill(0.97, 0.78))])
    assert (outcomes["lopsided"].name, outcomes["lopsided"].rule) == ("archived", "behind")
    assert outcomes["lopsided"].reasons[0].endswith("good keeps up")


def test_the_ensemble_wins_where_every_merge_is_behind_it(tmp_path: Path) -> None:
    _, outcomes, found = judge(tmp_path, [Merge("ties", "left behind", skill(0.80, 0.78))])
    assert (outcomes["left behind"].name, outcomes["left behind"].rule) == ("the ensemble wins", "behind")
    assert (found.name, found.subject) == ("the ensemble wins", "ensemble-weighted")


def test_an_ensemble_over_the_pass_budget_is_to_be_distilled(tmp_path: Path) -> None:
    merges = [Merge("ties", "left behind", skill(0.80, 0.78))]
    _, outcomes, found = judge(tmp_path, merges, ensemble={"pass_budget": 1})
    assert outcomes["left behind"].name == "distil instead"
    assert (found.name, found.rung) == ("distil instead", "distillation")


def test_a_router_over_the_model_budget_is_to_be_distilled_although_it_takes_one_pass(tmp_path: Path) -> None:
    merges = [Merge("ties", "left behind", skill(0.80, 0.78))]
    _, outcomes, found = judge(tmp_path, merges, ensemble={"model_budget": 1})
    assert outcomes["left behind"].name == "distil instead"
    assert outcomes["left behind"].reasons[0].endswith("teach one model from it")
    assert (found.name, found.rung) == ("distil instead", "distillation")


def test_an_ensemble_that_lost_a_skill_cannot_win(tmp_path: Path) -> None:
    unsafe = {
        name: (kind, n, {**truth, "refusal": 0.6} if kind == "ensemble" else truth)
        for name, (kind, n, truth) in BASELINES.items()
    }
    found, outcomes, _ = judge(tmp_path, [Merge("ties", "modest", skill(0.80, 0.78))], unsafe)
    assert found.ensemble is None
    assert outcomes["modest"].name == "candidate"


def test_a_dearer_ensemble_that_is_only_a_little_better_does_not_win(tmp_path: Path) -> None:
    _, outcomes, found = judge(tmp_path, [Merge("ties", "close", skill(0.925, 0.90))])
    assert outcomes["close"].name == "candidate"
    assert "in 2 passes with 2 models in memory; the difference is " in found.support[1]


def test_of_two_uncertain_merges_the_leader_stays_a_candidate(tmp_path: Path) -> None:
    # Near copies trade places from resample to resample, so neither reaches a share of .99.
    merges = [Merge("ties", f"near {n}", skill(0.925 + 0.01 * n, 0.935 - 0.01 * n)) for n in range(3)]
    _, outcomes, _ = judge(tmp_path, merges, front={"robust": 1.0})
    rules = sorted(outcome.rule for outcome in outcomes.values())
    assert rules.count("leader") + rules.count("robust") >= 1
    assert "uncertain" in rules
    uncertain = next(outcome for outcome in outcomes.values() if outcome.rule == "uncertain")
    assert uncertain.name == "archived"
    assert "not excluded" in uncertain.reasons[0]


def test_a_robust_merge_is_a_candidate_and_the_answer(tmp_path: Path) -> None:
    found, outcomes, said = judge(tmp_path, [GOOD])
    assert (outcomes["good"].name, outcomes["good"].rule) == ("candidate", "robust")
    assert (said.name, said.subject) == ("merge", found.study.candidates[0].id)


def test_parents_are_kept_where_neither_merge_nor_ensemble_is_sound(tmp_path: Path) -> None:
    _, _, found = judge(tmp_path, [Merge("linear", "poor", skill(0.6, 0.55))], without_ensembles())
    assert (found.name, found.rung) == ("keep the parents", "router")


def test_without_a_survivor_a_sound_ensemble_is_still_the_answer(tmp_path: Path) -> None:
    _, outcomes, found = judge(tmp_path, [Merge("linear", "lost", skill(0.9, 0.9, upper=0.2))])
    assert outcomes["lost"].name == "rejected"
    assert found.name == "the ensemble wins"


def test_refused_parents_are_an_answer_with_the_recommended_rung(tmp_path: Path) -> None:
    found = trial(load(refused(tmp_path), EXPERIMENT), policy())
    said = answer(found, decide(found))
    assert (said.name, said.rung, said.subject) == ("refused", "distillation", None)
    assert said.support == ("tokenizer.json differs: 'a' is 5 in pico-a and 9 in pico-b. Distil instead.",)


def test_a_refusal_with_evaluated_baselines_is_still_a_refusal(tmp_path: Path) -> None:
    refused(build(tmp_path, []))
    found = trial(load(tmp_path, EXPERIMENT), policy(**FEW))
    assert answer(found, decide(found)).name == "refused"
    assert set(found.measures.standings) == set(BASELINES)


def test_a_search_without_a_merge_is_refused(tmp_path: Path) -> None:
    _, outcomes, found = judge(tmp_path, [])
    assert outcomes == {}
    assert (found.name, found.support) == ("refused", ("the search proposed no merge",))


def test_every_outcome_of_the_planted_study_is_the_planted_one(tmp_path: Path) -> None:
    _, outcomes, _ = judge(tmp_path, MERGES)
    assert {label: outcome.rule for label, outcome in outcomes.items()} == {
        "linear anchor": "dominated",
        "linear 1": "floor",
        "slerp anchor": "dominated",
        "task_arithmetic anchor": "robust",
        "task_arithmetic 1": "lost",
        "task_arithmetic 2": "lost",
        "ties anchor": "robust",
        "ties 1": "behind",
        "ties 2": "floor",
        "dare_linear anchor": "dominated",
        "dare_linear 1": "lost",
        "dare_ties 1": "gate",
    }


def test_outcomes_do_not_depend_on_the_order_of_the_subjects(tmp_path: Path) -> None:
    names = [*BASELINES, *(merge.id for merge in MERGES if merge.gate is None)]
    forward = trial(load(build(tmp_path / "a", order=names), EXPERIMENT), policy(**FEW))
    backward = trial(load(build(tmp_path / "b", order=names[::-1]), EXPERIMENT), policy(**FEW))
    assert decide(forward) == decide(backward)
    assert forward.non_dominated == backward.non_dominated
    assert forward.rank == backward.rank


def test_recovered_fraction_is_gain_over_the_parents_gain(tmp_path: Path) -> None:
    found = trial(load(build(tmp_path), EXPERIMENT), policy(**FEW))
    base, parent, mine = (
        found.study.answers(name, "recall").accuracy for name in ("base", "pico-a", MERGES[0].id)
    )
    score = found.standing(MERGES[0].id).niches[0]
    assert score.recovered is not None
    assert score.recovered.value == pytest.approx((mine - base) / (parent - base))
    assert score.retention == pytest.approx(mine / parent)
    assert found.headline("pico-a").value < 0 < found.headline("ensemble-uniform").value
    headline = found.headline(MERGES[0].id)
    assert headline.low <= headline.value <= headline.high


def test_too_few_clusters_are_refused_with_the_next_move(tmp_path: Path) -> None:
    study = load(build(tmp_path), EXPERIMENT)  # families 18 and 19 are all that the hidden split has
    with pytest.raises(LabError, match=r"has 2 hidden clusters by 'family'.*Draw more hidden items"):
        trial(study, policy(front={"cluster": "family"}))


def test_missing_evidence_of_a_merge_that_passed_its_gate_is_an_error(tmp_path: Path) -> None:
    names = [*BASELINES, *(merge.id for merge in MERGES[1:] if merge.gate is None)]
    with pytest.raises(LabError, match=f"no evidence of {MERGES[0].id}"):
        load(build(tmp_path, order=names), EXPERIMENT)


def test_evidence_of_another_suite_is_an_error(tmp_path: Path) -> None:
    path = build(tmp_path) / "evidence" / "base.json"
    path.write_text(path.read_text().replace('"suite_digest": "', '"suite_digest": "0'))
    with pytest.raises(LabError, match="belongs to another subject or suite"):
        load(tmp_path, EXPERIMENT)


def test_answers_that_do_not_match_the_cases_are_an_error(tmp_path: Path) -> None:
    path = build(tmp_path) / "cases" / "hidden" / "sort.jsonl"
    path.write_text(path.read_text().split("\n", 1)[1])
    with pytest.raises(LabError, match="expected 199 answers to hidden task 'sort', got 200"):
        load(tmp_path, EXPERIMENT)
