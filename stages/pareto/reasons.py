"""Why a candidate came out as it did, in sentences: every loss with its p and what was detectable."""

from collections.abc import Sequence

from stages.pareto.claims import Comparison
from stages.pareto.constraints import Check
from stages.pareto.trial import Trial
from stages.pareto.wording import budget, cost, ordinal, p_value, percent, points, share


def loss(one: Check, tests: int) -> str:
    """'lost: rare skill upper, 0.31 against 0.97 (p 2e-05 by itself, 0.005 among 264 tests; …)'."""
    return (
        f"lost: {one.skill}, {share(one.value)} against {share(one.reference_value)} "
        f"(p {p_value(one.paired.loss_p)} by itself, {p_value(one.adjusted_p or 0.0)} among {tests} tests; "
        f"{share(one.detectable)} is detectable)"
    )


def doubt(one: Check) -> str:
    """What was not shown to be kept, and how much of it may be gone."""
    return (
        f"not shown to be kept: {one.skill}, {share(one.value)} against {share(one.reference_value)} "
        f"(a loss of {-one.paired.interval.low:.3f} is not excluded, {one.margin:.3f} is allowed)"
    )


def rejected(found: Trial, name: str, rejecting: Sequence[Check]) -> tuple[str, ...]:
    """Losses first, then doubts; the first also says how well the merge scores otherwise."""
    tests = found.losses_tested
    reasons = [loss(one, tests) for one in rejecting if one.state == "lost"]
    reasons += [doubt(one) for one in rejecting if one.state == "unproven"]
    if not reasons:
        proof = found.proofs[name]
        reasons = [
            f"not shown to have kept everything: p {p_value(proof.p)} by itself, "
            f"{p_value(proof.adjusted_p)} as one of {len(found.proofs)} that might have passed by chance"
        ]
    reasons[0] += f"; {_although(found, name)}"
    return tuple(reasons)


def _although(found: Trial, name: str) -> str:
    """What a mean score alone would have said of a rejected merge."""
    score = "its mean score on the niches"
    place = f"{ordinal(found.rank[name])} of {len(found.rank)}"
    if 4 * found.rank[name] <= max(4, len(found.rank)):  # the best, or among the best quarter
        return f"rejected although {score} ranks {place}"
    mean = found.standing(name).mean
    if all(mean > found.standing(parent).mean for parent in found.study.of_kind("parent")):
        return f"rejected although {score}, {share(mean)}, is above every parent's; it ranks {place}"
    return f"{score} ranks {place}"


def dominated(found: Trial, name: str) -> str:
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


def under_floor(found: Trial, name: str) -> str:
    """The niche that a merge recovers least of."""
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


def behind(found: Trial, name: str, compared: Comparison) -> str:
    """By how much a merge is behind the best ensemble."""
    theirs = found.headline(compared.ensemble).value
    return (
        f"recovers {percent(found.headline(name).value)}, {compared.ensemble} {percent(theirs)}: "
        f"{points(compared.difference)} points "
        f"({points(compared.interval.low)} to {points(compared.interval.high)}), "
        f"with a margin of {points(-found.policy.ensemble.margin)}; "
        f"{points(compared.detectable)[1:]} are detectable"
    )


def unmeasured(found: Trial) -> str:
    """Which parent was not shown to gain."""
    unproven = [niche for niche in found.measures.niches if not niche.proven]
    names = " and ".join(niche.parent for niche in unproven)
    reach = max(niche.detectable for niche in unproven)
    return (
        f"{names} was not shown to gain over the base, so retention means nothing "
        f"(a gain of {share(reach)} is detectable)"
    )


def allowed(found: Trial, compared: Comparison) -> str:
    """What the best ensemble costs, against the budget."""
    policy, taken = found.policy.ensemble, cost(compared.passes, compared.models)
    if policy.affords(compared.passes, compared.models):
        return f"it takes {taken}, within the budget of {budget(policy)}"
    return f"it takes {taken}, over the budget of {budget(policy)}: teach one model from it"
