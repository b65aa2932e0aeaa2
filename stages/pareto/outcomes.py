"""One outcome with reasons for each candidate; the first rule that applies decides.

"Sound" means that no check rejects it; the "best ensemble" is the sound ensemble, router or cascade with the
highest headline (ties: fewer passes, then id), if that reaches the floor. A headline is *behind* the best
ensemble's when it was shown to lie below it by more than the margin or, where the policy rejects the
unproven, when it was not shown to lie within the margin. The *leader* is the best of those that reach rule 7.

| # | rule | applies to a candidate | outcome |
|---|---|---|---|
| 1 | unmergeable, gate | for which the method has no answer, or that its gate refused | rejected |
| 2 | lost, unproven | with a check that rejects it | rejected |
| 3 | unmeasured | where some parent was not shown to gain on its niche | archived |
| 4 | dominated | non-dominated in fewer resamples than `not_excluded` | archived |
| 5 | floor | whose headline is under `recovered_floor` | archived |
| 6 | behind | behind the best ensemble, while another that reached this rule is not | archived |
|   |        | behind, as all are; the ensemble is within `pass_budget` | the ensemble wins |
|   |        | behind, as all are; the ensemble costs more | distil instead |
| 7 | uncertain | non-dominated in fewer resamples than `robust`, and not the leader | archived |
| 8 | robust, leader | that is left | candidate |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.core.records.policy import Policy
from stages.core.scoring.intervals import Interval, percentile_interval
from stages.pareto.constraints import Check, check
from stages.pareto.front import dominates_all_share, non_dominated_share
from stages.pareto.measure import Measures, Number, Standing, measure
from stages.pareto.study import Candidate, Study
from stages.pareto.wording import ordinal, passes, percent, points, share

Name = Literal["candidate", "archived", "rejected", "the ensemble wins", "distil instead"]
SERVED = ("ensemble", "router", "cascade")  # what may be served in place of a merge
NOTHING = Number(float("-inf"), float("-inf"), float("-inf"))
NAMES: tuple[Name, ...] = ("candidate", "the ensemble wins", "distil instead", "rejected", "archived")


@dataclass(frozen=True)
class Outcome:
    """What becomes of one candidate. `rule`: a row of the table above; the first reason decided."""

    subject: str
    name: Name
    rule: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """A study with everything that was derived from it before anybody was judged.

    checks: per evaluated candidate and whatever is SERVED. non_dominated: per admitted subject, share of
    resamples. beats_parents: per evaluated subject, share of resamples in which it dominates every parent.
    rank: place by mean score on the niches among the evaluated candidates, 1 is best. ensemble: id of the
    best ensemble.
    """

    study: Study
    policy: Policy
    measures: Measures
    checks: Mapping[str, Sequence[Check]]
    non_dominated: Mapping[str, float]
    beats_parents: Mapping[str, float]
    rank: Mapping[str, int]
    ensemble: str | None

    def standing(self, name: str) -> Standing:
        """The results of one evaluated subject."""
        return self.measures.standings[name]

    def label(self, name: str) -> str:
        """How a subject is called in a sentence: a candidate by its proposal, anyone else by id."""
        for candidate in self.study.candidates:
            if candidate.id == name:
                return candidate.label
        return name

    def headline(self, name: str) -> Number:
        """The headline of an evaluated subject; below everything where a niche is not proven."""
        return self.standing(name).headline or NOTHING


@dataclass(frozen=True)
class Comparison:
    """A headline minus the best ensemble's, with its paired interval."""

    ensemble: str
    passes: float
    difference: float
    interval: Interval


def trial(study: Study, policy: Policy) -> Trial:
    """Measure, check and place every subject on the front."""
    measures = measure(study, policy)
    checks = {
        name: check(study, measures, name, policy)
        for name in study.evidence
        if study.role_of(name) in (*SERVED, "candidate")
    }
    admitted = [
        name
        for name in study.evidence
        if study.role_of(name) in ("base", "parent")
        or (name in checks and not _rejecting(checks[name], policy))  # a bound cannot be served
    ]
    standings = measures.standings
    shares = non_dominated_share(
        [standings[name].samples for name in admitted],
        [standings[name].subject.passes for name in admitted],
        [standings[name].subject.models for name in admitted],
    )
    parents = [standings[name].samples for name in study.of_kind("parent")]
    beats = {name: dominates_all_share(standings[name].samples, parents) for name in study.evidence}
    merges = sorted(study.of_kind("candidate"), key=lambda name: (-standings[name].mean, name))
    ranks = {name: place for place, name in enumerate(merges, start=1)}
    best = _best_ensemble(study, measures, checks, policy)
    return Trial(
        study, policy, measures, checks, dict(zip(admitted, shares, strict=True)), beats, ranks, best
    )


def _rejecting(checks: Sequence[Check], policy: Policy) -> list[Check]:
    return [one for one in checks if one.rejects(policy)]


def _best_ensemble(
    study: Study, measures: Measures, checks: Mapping[str, Sequence[Check]], policy: Policy
) -> str | None:
    sound = []
    for name in (name for kind in SERVED for name in study.of_kind(kind)):
        standing = measures.standings[name]
        reached = standing.headline is not None and standing.headline.value >= policy.front.recovered_floor
        if reached and standing.headline and not _rejecting(checks[name], policy):
            sound.append((-standing.headline.value, standing.subject.passes, name))
    return min(sound)[2] if sound else None


def against_ensemble(found: Trial, name: str) -> Comparison | None:
    """How a headline compares with the best ensemble's; None without a best ensemble."""
    if found.ensemble is None:
        return None
    mine, theirs = found.standing(name), found.standing(found.ensemble)
    samples = mine.headline_samples - theirs.headline_samples
    return Comparison(
        found.ensemble,
        theirs.subject.passes,
        found.headline(name).value - found.headline(found.ensemble).value,
        percentile_interval(samples, found.policy.confidence),
    )


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
    reasons = tuple(f"gate {finding['rule']}: {finding['message']}" for finding in failed)
    return Outcome(candidate.id, "rejected", "gate", reasons)


def _early(found: Trial, name: str) -> Outcome | None:
    """Rules 2 to 5; None if none applies."""
    rejecting = _rejecting(found.checks[name], found.policy)
    if rejecting:
        return _rejected(found, name, rejecting)
    if not found.measures.proven:
        unproven = [niche.parent for niche in found.measures.niches if not niche.proven]
        reason = f"{' and '.join(unproven)} was not shown to gain over the base, so retention means nothing"
        return Outcome(name, "archived", "unmeasured", (reason,))
    on_front = found.non_dominated[name]
    if on_front < found.policy.front.not_excluded:
        return Outcome(name, "archived", "dominated", (_dominated(found, name),))
    floor = found.policy.front.recovered_floor
    if found.headline(name).value < floor:
        return Outcome(name, "archived", "floor", (_under_floor(found, name),))
    return None


def _rejected(found: Trial, name: str, rejecting: Sequence[Check]) -> Outcome:
    lost = [one for one in rejecting if one.state == "lost"]
    reasons = [_loss(one) for one in lost] + [_doubt(one) for one in rejecting if one.state == "unproven"]
    rank, of = found.rank[name], len(found.rank)
    stated = f"its mean score on the niches ranks {ordinal(rank)} of {of}"
    remarkable = 4 * rank <= max(4, of)  # the best, or among the best quarter
    reasons[0] += f"; rejected although {stated}" if remarkable else f"; {stated}"
    return Outcome(name, "rejected", "lost" if lost else "unproven", tuple(reasons))


def _loss(one: Check) -> str:
    return f"lost: {one.skill}, {share(one.accuracy)} against {share(one.reference_accuracy)}"


def _doubt(one: Check) -> str:
    return (
        f"not shown to be kept: {one.skill}, {share(one.accuracy)} against {share(one.reference_accuracy)} "
        f"(a loss of {-one.paired.interval.low:.3f} is not excluded, {one.margin:.3f} is allowed)"
    )


def _dominated(found: Trial, name: str) -> str:
    """Names the admitted subject that is at least as good on every niche at no more cost, if one is."""
    mine = found.standing(name)
    for other in sorted(found.non_dominated, key=lambda other: (-found.headline(other).value, other)):
        theirs = found.standing(other)
        pairs = [
            (a.accuracy.value, b.accuracy.value) for a, b in zip(mine.niches, theirs.niches, strict=True)
        ]
        if (
            other != name
            and theirs.subject.passes <= mine.subject.passes
            and theirs.subject.models <= mine.subject.models
            and all(b >= a for a, b in pairs)
            and any(b > a for a, b in pairs)
        ):
            reached = " and ".join(share(b) for _, b in pairs)
            own = " and ".join(share(a) for a, _ in pairs)
            return f"dominated by {found.label(other)}: {own} on the niches, against {reached}"
    return f"on the front in only {percent(found.non_dominated[name])} of the resamples"


def _under_floor(found: Trial, name: str) -> str:
    standing = found.standing(name)
    worst, niche = min(
        (score.recovered.value, niche.parent)
        for score, niche in zip(standing.niches, found.measures.niches, strict=True)
        if score.recovered is not None
    )
    return (
        f"recovers {percent(worst)} of what {niche} gained; "
        f"under {percent(found.policy.front.recovered_floor)} a parent alone is the better answer"
    )


def _behind(found: Trial, name: str, compared: Comparison, best: str | None) -> Outcome:
    """Rule 6."""
    theirs = found.headline(compared.ensemble).value
    reason = (
        f"recovers {percent(found.headline(name).value)}, {compared.ensemble} {percent(theirs)}: "
        f"{points(compared.difference)} points "
        f"({points(compared.interval.low)} to {points(compared.interval.high)}), "
        f"with a margin of {points(-found.policy.ensemble.margin)}"
    )
    if best is not None:
        return Outcome(name, "archived", "behind", (f"{reason}; {found.label(best)} keeps up",))
    cost = f"its {passes(compared.passes)}"
    if compared.passes <= found.policy.ensemble.pass_budget:
        return Outcome(name, "the ensemble wins", "behind", (f"{reason}; {cost} are within the budget",))
    budget = f"{found.policy.ensemble.pass_budget:g}"
    reason += f"; {cost} exceed the budget of {budget}: teach one model from it"
    return Outcome(name, "distil instead", "behind", (reason,))


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
