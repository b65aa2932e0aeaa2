"""A study with everything that is derived from it before anybody is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.core.records.policy import Policy
from stages.core.scoring.multiplicity import holm
from stages.pareto.claims import Claim, Comparison, against, claims
from stages.pareto.constraints import Check, checks
from stages.pareto.front import dominates_all_share, non_dominated_share
from stages.pareto.measure import Measures, Number, Standing, measure
from stages.pareto.study import Study

SERVED = ("ensemble", "router", "cascade")  # what may be served in place of a merge
NOTHING = Number(float("-inf"), float("-inf"), float("-inf"))


@dataclass(frozen=True)
class Proof:
    """Whether a candidate kept everything that the policy sets a margin for.

    p: of "it lost more than the margin of something": the largest p of its checks (an intersection-union
    test: Berger 1982, Technometrics 24(4)). adjusted_p: among all candidates, by Holm. shown: it is at most
    the level.
    """

    p: float
    adjusted_p: float
    shown: bool


@dataclass(frozen=True)
class Trial:
    """checks: per evaluated candidate and whatever is SERVED. proofs: per evaluated candidate. claims: per
    evaluated candidate, of being better than a parent on its niche, and than the best ensemble.
    non_dominated: per admitted subject, share of resamples. beats_parents: per evaluated subject, share of
    resamples in which it dominates every parent. rank: place by mean score on the niches among the evaluated
    candidates, 1 is best. ensemble: id of the best ensemble.
    """

    study: Study
    policy: Policy
    measures: Measures
    checks: Mapping[str, Sequence[Check]]
    proofs: Mapping[str, Proof]
    claims: Mapping[str, Sequence[Claim]]
    non_dominated: Mapping[str, float]
    beats_parents: Mapping[str, float]
    rank: Mapping[str, int]
    ensemble: str | None

    @property
    def losses_tested(self) -> int:
        """How many tests the family of losses has (module `constraints`)."""
        return sum(one.adjusted_p is not None for found in self.checks.values() for one in found)

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

    def rejecting(self, name: str) -> list[Check]:
        """The checks that reject a subject."""
        return [one for one in self.checks.get(name, ()) if one.rejects(self.policy)]


def trial(study: Study, policy: Policy) -> Trial:
    """Measure, check and place every subject on the front."""
    measures = measure(study, policy)
    judged = [name for name in study.evidence if study.role_of(name) in (*SERVED, "candidate")]
    found = checks(study, measures, judged, policy)
    proofs = _proofs(study, found, policy)
    admitted = [name for name in study.evidence if _is_admitted(study, name, found, proofs, policy)]
    standings = measures.standings
    subjects = [standings[name].subject for name in admitted]
    shares = non_dominated_share(
        [standings[name].samples for name in admitted],
        [subject.passes for subject in subjects],
        [subject.models for subject in subjects],
    )
    parents = [standings[name].samples for name in study.of_kind("parent")]
    beats = {name: dominates_all_share(standings[name].samples, parents) for name in study.evidence}
    merges = sorted(study.of_kind("candidate"), key=lambda name: (-standings[name].mean, name))
    best = _best_ensemble(measures, [name for name in admitted if study.role_of(name) in SERVED], policy)
    return Trial(
        study,
        policy,
        measures,
        found,
        proofs,
        claims(study, measures, best, policy),
        dict(zip(admitted, shares, strict=True)),
        beats,
        {name: place for place, name in enumerate(merges, start=1)},
        best,
    )


def _is_admitted(
    study: Study,
    name: str,
    found: Mapping[str, Sequence[Check]],
    proofs: Mapping[str, Proof],
    policy: Policy,
) -> bool:
    """Whether a subject may be on the front. A bound cannot be served, so it never may."""
    if study.role_of(name) in ("base", "parent"):
        return True
    if name not in found or any(one.rejects(policy) for one in found[name]):
        return False
    return policy.reject == "shown_loss" or name not in proofs or proofs[name].shown


def _proofs(study: Study, found: Mapping[str, Sequence[Check]], policy: Policy) -> dict[str, Proof]:
    merges = study.of_kind("candidate")
    largest = {
        name: max((one.kept_p for one in found[name] if one.kept_p is not None), default=0.0)
        for name in merges
    }
    adjusted = holm(largest)
    return {name: Proof(largest[name], adjusted[name], adjusted[name] <= policy.level) for name in merges}


def _best_ensemble(measures: Measures, sound: Sequence[str], policy: Policy) -> str | None:
    """The highest headline that reaches the floor; ties by passes, then id."""
    reached = []
    for name in sound:
        standing = measures.standings[name]
        if standing.headline is not None and standing.headline.value >= policy.front.recovered_floor:
            reached.append((-standing.headline.value, standing.subject.passes, name))
    return min(reached)[2] if reached else None


def against_ensemble(found: Trial, name: str) -> Comparison | None:
    """How a headline compares with the best ensemble's; None without a best ensemble."""
    if found.ensemble is None or found.standing(name).headline is None:
        return None
    return against(found.measures, name, found.ensemble, found.policy)
