"""One outcome with reasons for each candidate; the first rule that applies decides.

"Sound" means that no check rejects it; the "best ensemble" is the sound ensemble, router or cascade with the
highest headline (ties: fewer passes, then id), if that reaches the floor. A headline is *behind* the best
ensemble's when it was shown to lie below it by more than the margin or, where the policy rejects the
unproven, when it was not shown to lie within the margin. The *leader* is the best of those that reach rule 7.

1. unmergeable, gate: the method has no answer, or the gate refused it: rejected.
2. lost, unproven: a check rejects it: rejected. Also unproven where the policy rejects the unproven: it was
   not shown, among all candidates, to have kept all.
3. unmeasured: some parent was not shown to gain on its niche: archived.
4. dominated: non-dominated in fewer resamples than `not_excluded`: archived.
5. floor: its headline is under `recovered_floor`: archived.
6. behind the best ensemble, while another that reached this rule is not: archived. Behind, as all are: the
   ensemble wins if it is within `pass_budget` and `model_budget`; else distil instead.
7. uncertain: non-dominated in fewer resamples than `robust`, and not the leader: archived.
8. robust, leader: what is left: candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.core.records.policy import Policy
from stages.pareto import reasons
from stages.pareto.claims import Comparison
from stages.pareto.study import Candidate
from stages.pareto.trial import Trial, against_ensemble
from stages.pareto.wording import percent

Name = Literal["candidate", "archived", "rejected", "the ensemble wins", "distil instead"]
NAMES: tuple[Name, ...] = ("candidate", "the ensemble wins", "distil instead", "rejected", "archived")


@dataclass(frozen=True)
class Outcome:
    """What becomes of one candidate. `rule`: one of those above; the first reason decided."""

    subject: str
    name: Name
    rule: str
    reasons: tuple[str, ...]


def is_behind(compared: Comparison | None, policy: Policy) -> bool:
    """Whether a headline is behind the best ensemble's, as the module says."""
    if compared is None:
        return False
    if policy.reject == "unproven":
        return compared.interval.low < -policy.ensemble.margin
    return compared.difference < -policy.ensemble.margin and compared.interval.high < 0


def decide(found: Trial) -> dict[str, Outcome]:
    """The outcome of every candidate, in the order they were proposed."""
    early = {one.id: _unmade(found, one) or _early(found, one.id) for one in found.study.candidates}
    compared = {name: against_ensemble(found, name) for name, outcome in early.items() if outcome is None}
    behind = {name: one for name, one in compared.items() if one and is_behind(one, found.policy)}
    best = leader(found, [name for name in compared if name not in behind])
    return {
        name: outcome
        or (_behind(found, name, behind[name], best) if name in behind else _late(found, name, best))
        for name, outcome in early.items()
    }


def leader(found: Trial, names: Sequence[str]) -> str | None:
    """The highest headline; ties by passes, then id."""
    if not names:
        return None
    return min(
        names, key=lambda name: (-found.headline(name).value, found.standing(name).subject.passes, name)
    )


def _unmade(found: Trial, candidate: Candidate) -> Outcome | None:
    """Rule 1; None if it does not apply."""
    if candidate.refusal is not None:
        return Outcome(candidate.id, "rejected", "unmergeable", (f"not merged: {candidate.refusal}",))
    gate = found.study.gates[candidate.id]
    if gate["passed"]:
        return None
    failed = [finding for finding in gate["findings"] if not finding["passed"]]
    stated = tuple(f"gate {finding['rule']}: {finding['message']}" for finding in failed)
    return Outcome(candidate.id, "rejected", "gate", stated)


def _early(found: Trial, name: str) -> Outcome | None:
    """Rules 2 to 5; None if none applies."""
    rejecting = found.rejecting(name)
    if rejecting or name not in found.non_dominated:
        lost = any(one.state == "lost" for one in rejecting)
        stated = reasons.rejected(found, name, rejecting)
        return Outcome(name, "rejected", "lost" if lost else "unproven", stated)
    if not found.measures.proven:
        return Outcome(name, "archived", "unmeasured", (reasons.unmeasured(found),))
    if found.non_dominated[name] < found.policy.front.not_excluded:
        return Outcome(name, "archived", "dominated", (reasons.dominated(found, name),))
    if found.headline(name).value < found.policy.front.recovered_floor:
        return Outcome(name, "archived", "floor", (reasons.under_floor(found, name),))
    return None


def _behind(found: Trial, name: str, compared: Comparison, best: str | None) -> Outcome:
    """Rule 6."""
    reason = reasons.behind(found, name, compared)
    if best is not None:
        return Outcome(name, "archived", "behind", (f"{reason}; {found.label(best)} keeps up",))
    affordable = found.policy.ensemble.affords(compared.passes, compared.models)
    outcome: Name = "the ensemble wins" if affordable else "distil instead"
    return Outcome(name, outcome, "behind", (f"{reason}; {reasons.allowed(found, compared)}",))


def _late(found: Trial, name: str, best: str | None) -> Outcome:
    """Rules 7 and 8."""
    on_front = found.non_dominated[name]
    stated = f"on the front in {percent(on_front)} of the resamples"
    reached = f"recovers at least {percent(found.headline(name).value)} of each parent's gain"
    if on_front >= found.policy.front.robust:
        return Outcome(name, "candidate", "robust", (f"{reached}; {stated}",))
    if name == best:
        reason = f"{reached}, more than any other merge; {stated}, so its place is not certain"
        return Outcome(name, "candidate", "leader", (reason,))
    reason = f"{stated}: not excluded, but under {percent(found.policy.front.robust)}; more items may decide"
    return Outcome(name, "archived", "uncertain", (reason,))
