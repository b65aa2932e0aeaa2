"""Claims that a merge is better than something: tested, and adjusted for how many could have been made.

Two families, each kept at the policy's one-sided level by Holm's adjustment (docs/decisions/0020): candidates
× niches, where a merge may be better than a niche's own parent; and candidates, where it may be better than
the best ensemble. A claim that was not shown is no proof of the contrary: `detectable` says what would have
shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from stages.core.records.policy import Policy
from stages.core.scoring.intervals import Floats, Interval, percentile_interval
from stages.core.scoring.multiplicity import holm
from stages.core.scoring.paired import POWER, Paired, detectable_rate, mcnemar_loss_p, paired_difference
from stages.pareto.measure import Measures, Niche
from stages.pareto.study import Study

HEADLINE = "headline"


@dataclass(frozen=True)
class Comparison:
    """A headline minus the best ensemble's, with its paired interval. p: one-sided, of being no better.

    detectable: smallest true difference that would be shown four times in five, by this test alone.
    """

    ensemble: str
    passes: float
    models: int
    difference: float
    interval: Interval
    p: float
    detectable: float


@dataclass(frozen=True)
class Claim:
    """`subject` is better than `against` (a parent's id, or the best ensemble's) on `on`.

    on: the parent whose niche it is, or HEADLINE. difference: of accuracy, or of the recovered fraction. p:
    one- sided, of being no better; adjusted_p: within the family. shown: adjusted_p is at most the policy's
    level. detectable: smallest true gain that would be shown four times in five, at the strictest level of
    the family.
    """

    subject: str
    against: str
    on: str
    difference: float
    interval: Interval
    p: float
    adjusted_p: float
    shown: bool
    detectable: float


def claims(
    study: Study, measures: Measures, ensemble: str | None, policy: Policy
) -> dict[str, tuple[Claim, ...]]:
    """Every claim of each evaluated candidate: the niches in order, then the headline, where it has one."""
    names = study.of_kind("candidate")
    bench = _Bench(study, measures, policy)
    niches = [
        bench.on_niche(name, place, niche, among=len(names) * len(measures.niches))
        for name in names
        for place, niche in enumerate(measures.niches)
    ]
    headlines = [
        bench.on_headline(name, ensemble, among=len(names))
        for name in names
        if ensemble is not None and measures.standings[name].headline is not None
    ]
    made = [*_adjusted(niches, policy.level), *_adjusted(headlines, policy.level)]
    return {name: tuple(one for one in made if one.subject == name) for name in names}


def against(measures: Measures, name: str, ensemble: str, policy: Policy) -> Comparison:
    """How a headline compares with an ensemble's; both must have one."""
    mine, theirs = measures.standings[name], measures.standings[ensemble]
    if mine.headline is None or theirs.headline is None:
        raise ValueError(f"{name} or {ensemble} has no headline: a niche is not proven")
    samples = mine.headline_samples - theirs.headline_samples
    return Comparison(
        ensemble,
        theirs.subject.passes,
        theirs.subject.models,
        mine.headline.value - theirs.headline.value,
        percentile_interval(samples, policy.confidence),
        _bootstrap_p(samples),
        _reach(policy.level) * float(np.nanstd(samples)),
    )


@dataclass(frozen=True)
class _Bench:
    """Makes the claims before the others are known: p-values are raw. among: how many the family has."""

    study: Study
    measures: Measures
    policy: Policy

    def on_niche(self, name: str, place: int, niche: Niche, *, among: int) -> Claim:
        """Tasks are pooled for the exact test: a coin is flipped per cluster that differs, in any task."""
        pairs: list[Paired] = []
        for task in niche.tasks:
            mine, theirs = (self.study.answers(who, task).correct for who in (name, niche.parent))
            pairs.append(
                paired_difference(mine, theirs, self.measures.clusters[task], self.policy.confidence)
            )
        mine_samples, their_samples = (
            self.measures.standings[who].samples[:, place] for who in (name, niche.parent)
        )
        samples = mine_samples - their_samples
        clusters = sum(pair.clusters for pair in pairs)
        gains, losses = sum(pair.gains for pair in pairs), sum(pair.losses for pair in pairs)
        p = mcnemar_loss_p(losses, gains)
        single = pairs[0].interval if len(pairs) == 1 else None
        return Claim(
            subject=name,
            against=niche.parent,
            on=niche.parent,
            difference=sum(pair.difference for pair in pairs) / len(pairs),
            interval=single or percentile_interval(samples, self.policy.confidence),
            p=p,
            adjusted_p=p,
            shown=False,
            detectable=detectable_rate(losses / clusters, clusters, self.policy.level / among),
        )

    def on_headline(self, name: str, ensemble: str, *, among: int) -> Claim:
        """The recovered fraction against the best ensemble's."""
        found = against(self.measures, name, ensemble, self.policy)
        scale = _reach(self.policy.level / among) / _reach(self.policy.level)
        return Claim(
            subject=name,
            against=ensemble,
            on=HEADLINE,
            difference=found.difference,
            interval=found.interval,
            p=found.p,
            adjusted_p=found.p,
            shown=False,
            detectable=found.detectable * scale,
        )


def _adjusted(family: Sequence[Claim], level: float) -> list[Claim]:
    adjusted: Mapping[int, float] = holm({place: one.p for place, one in enumerate(family)})
    return [
        replace(one, adjusted_p=adjusted[place], shown=adjusted[place] <= level)
        for place, one in enumerate(family)
    ]


def _bootstrap_p(samples: Floats) -> float:
    """Share of resamples without a gain; at least 1 / (draws + 1): more candidates ask for more draws."""
    defined = samples[~np.isnan(samples)]
    return (1 + int((defined <= 0).sum())) / (len(defined) + 1)


def _reach(level: float) -> float:
    """z of the level + z of the power: what is detectable, in standard errors."""
    return float(ndtri(1 - level) + ndtri(POWER))
