"""The experiment's answer in one sentence, with what supports it and the next move.

| answer | when (the first that applies) | rung |
|---|---|---|
| refused | eligibility, or the merge stage, refused | the one it recommends |
| merge | there is a candidate: the leader | weight merge |
| not measurable | some parent was not shown to gain on its niche | none |
| the ensemble wins | no merge is left, the best ensemble is within the pass budget | that of its kind |
| distil instead | no merge is left, the best ensemble costs more | distillation |
| keep the parents | nothing keeps enough of both | router |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stages.core.scoring.paired import clusters_to_show
from stages.pareto.claims import HEADLINE, Claim, Comparison
from stages.pareto.outcomes import Outcome, leader
from stages.pareto.trial import NOTHING, Trial, against_ensemble
from stages.pareto.wording import budget, cost, p_value, percent, percent_range, points, with_interval

RUNGS = {"ensemble": "output ensemble", "router": "router", "cascade": "cascade"}  # of what may be served
Name = Literal[
    "merge", "the ensemble wins", "distil instead", "keep the parents", "not measurable", "refused"
]


@dataclass(frozen=True)
class Answer:
    """subject: who is recommended, if anyone. support: sentences. rung: of the recombination hierarchy."""

    name: Name
    rung: str
    subject: str | None
    sentence: str
    support: tuple[str, ...]
    next_move: str


def answer(found: Trial, outcomes: Mapping[str, Outcome]) -> Answer:
    """The first row of the answer table (module `outcomes`) that applies."""
    study = found.study
    if not study.eligibility["passed"] or study.refused is not None or not study.candidates:
        return _refused(found)
    candidates = [name for name, outcome in outcomes.items() if outcome.name == "candidate"]
    best = leader(found, candidates)
    if best is not None:
        return _merge(found, best, len(candidates))
    if not found.measures.proven:
        return _unmeasured(found)
    if found.ensemble is not None:
        return _ensemble(found, found.ensemble, outcomes)
    return _keep(found, outcomes)


def _keep(found: Trial, outcomes: Mapping[str, Outcome]) -> Answer:
    rules = [outcome.rule for outcome in outcomes.values()]
    sentence = "Keep the parents: no merge and no ensemble keeps enough of both."
    move = "Route each request to the parent whose niche it is, or widen conf/budget and conf/method."
    if "unproven" in rules:
        margins = [one.margin for checks in found.checks.values() for one in checks if one.margin]
        among = max(1, len(found.proofs))  # the strictest level of Holm's among the candidates
        fewest = clusters_to_show(min(margins), 1 - 2 * found.policy.level / among)
        sentence = "Keep the parents: no merge and no ensemble was shown to keep enough."
        move = (
            f"Draw more hidden items in conf/suite: a margin of {min(margins):g} takes at least {fewest} "
            "independent ones per task, even where nothing is lost."
        )
    return Answer("keep the parents", "router", None, sentence, (_counted(outcomes),), move)


def _merge(found: Trial, best: str, count: int) -> Answer:
    headline = found.headline(best)
    shares = [(niche.recovered or NOTHING).value for niche in found.standing(best).niches]
    weakest = found.measures.niches[shares.index(min(shares))].parent
    support = (
        f"Its weakest niche is {weakest}'s; the interval is {percent_range(headline.low, headline.high)} at "
        f"{percent(found.policy.confidence)} confidence, not corrected for having picked the best of "
        f"{len(found.rank)}.",
        _compared(found, against_ensemble(found, best)),
        _claimed(found.claims.get(best, ())),
        "It is the only candidate." if count == 1 else f"It is the best of {count} candidates.",
    )
    return Answer(
        "merge",
        "weight merge",
        best,
        f"Merge: {found.label(best)} keeps at least {percent(headline.value)} of what each parent gained, "
        "in one forward pass.",
        support,
        f"Check that it can be rebuilt: mergelab verify {best}",
    )


def _compared(found: Trial, compared: Comparison | None) -> str:
    if compared is None:
        return "No ensemble of the parents is sound and recovers enough to compare with."
    low, high = points(compared.interval.low), points(compared.interval.high)
    theirs, taken = percent(found.headline(compared.ensemble).value), cost(compared.passes, compared.models)
    return (
        f"The best ensemble ({compared.ensemble}) recovers {theirs} in {taken}; "
        f"the difference is {points(compared.difference)} points ({low} to {high}); "
        f"{points(compared.detectable)[1:]} are detectable."
    )


def _claimed(made: Sequence[Claim]) -> str:
    """What the merge was shown to be better than, each with its p among all such claims of the study."""
    parts = []
    for one in made:
        whom = f"{one.against} ({'recovered' if one.on == HEADLINE else 'on its niche'})"
        verb = "better than" if one.shown else "not shown to be better than"
        parts.append(
            f"{verb} {whom}: {points(one.difference)} points, p {p_value(one.adjusted_p)} adjusted "
            f"({p_value(one.p)} by itself), {points(one.detectable)[1:]} are detectable"
        )
    return f"It is {'; '.join(parts)}." if parts else "There was nothing to be better than."


def _ensemble(found: Trial, ensemble: str, outcomes: Mapping[str, Outcome]) -> Answer:
    headline, kind = found.headline(ensemble), found.study.role_of(ensemble)
    subject, policy = found.standing(ensemble).subject, found.policy.ensemble
    taken = cost(subject.passes, subject.models)
    reached = f"{ensemble} recovers {with_interval(headline)} of what each parent gained"
    support = (f"No merge keeps up with it. {_counted(outcomes)}",)
    if policy.affords(subject.passes, subject.models):
        return Answer(
            "the ensemble wins",
            RUNGS[kind],
            ensemble,
            f"The {kind} wins: {reached}, in {taken}.",
            support,
            "Serve the parents side by side, or widen the search in conf/budget and conf/method.",
        )
    return Answer(
        "distil instead",
        "distillation",
        ensemble,
        f"Distil instead: {reached}, but costs {taken}.",
        support,
        f"Teach one model from {ensemble}: it takes {taken}, over the budget of {budget(policy)}.",
    )


def _unmeasured(found: Trial) -> Answer:
    unproven = [niche for niche in found.measures.niches if not niche.proven]
    gains = "; ".join(
        f"{niche.parent} gains {points(niche.gain.value)} points "
        f"({points(niche.gain.low)} to {points(niche.gain.high)})"
        for niche in unproven
    )
    return Answer(
        "not measurable",
        "none",
        None,
        "Not measurable: a parent was not shown to be better than the base on its own niche.",
        (f"On the hidden cases {gains}.",),
        "Train the parent further, or give its niche more hidden items in conf/suite.",
    )


def _refused(found: Trial) -> Answer:
    eligibility = found.study.eligibility
    if not eligibility["passed"]:
        recommended = eligibility["recommendation"]
        failed = [finding for finding in eligibility["findings"] if not finding["passed"]]
        rules = ", ".join(finding["rule"] for finding in failed)
        rung = str(recommended["rung"]).replace("-", " ")
        return Answer(
            "refused",
            str(recommended["rung"]),
            None,
            f"Refused: these parents may not be merged ({rules}).",
            tuple(finding["message"] for finding in failed),
            f"Recommended rung: {rung}. {recommended['reason']}",
        )
    reason = found.study.refused or "the search proposed no merge"
    return Answer(
        "refused",
        "none",
        None,
        "Refused: nothing was merged.",
        (reason,),
        "See data/candidates/index.json, and widen conf/method or conf/budget.",
    )


def _counted(outcomes: Mapping[str, Outcome]) -> str:
    """'Of 16 merges, 4 were rejected and 12 archived.'"""
    names = [outcome.name for outcome in outcomes.values()]
    parts = [f"{names.count(name)} {words}" for name, words in _WORDS.items() if name in names]
    return f"Of {len(names)} merges, " + " and ".join(parts) + "."


_WORDS = {
    "rejected": "were rejected",
    "archived": "were archived",
    "the ensemble wins": "lost to the ensemble",
    "distil instead": "lost to an ensemble over the budget",
}
