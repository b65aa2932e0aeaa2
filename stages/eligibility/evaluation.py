"""Rules on what is known of the parents: what is each good at, does the evidence still hold, why together?"""

from collections.abc import Iterator
from typing import Final

from stages.core.records.verdict import Finding
from stages.eligibility.facts import WEIGHTS, Facts, Parent, finding

LEAST_STATEMENT: Final = 20  # characters: shorter than a reason can be


def evaluation_current(facts: Facts) -> Finding:
    """Every card reports on these weights and this version of the suite."""
    problems = [
        f"{parent.id}: {problem}" for parent in facts.family for problem in _stale(parent, facts.suite)
    ]
    return finding(
        "evaluation_current",
        problems,
        fine=f"every card reports on these weights and suite {facts.suite[0]} {facts.suite[1]}",
        move="Measure the parent again and write its scores into card.json.",
        evidence={
            parent.id: parent.card.evaluation.model_dump(include={"suite", "suite_version", "weights_sha256"})
            if parent.card.evaluation
            else None
            for parent in facts.family
        },
    )


def niche(facts: Facts) -> Finding:
    """Each parent demonstrably has a niche of its own: above the floor, above the base, and in the suite."""
    problems = [f"{parent.id}: {problem}" for parent in facts.parents for problem in _missing(parent, facts)]
    return finding(
        "niche",
        problems,
        fine=f"each parent reaches {facts.niche_floor:g} on its own niche and is above the base",
        move="A merge cannot keep a niche that was never learnt: train the parent further, or leave it out.",
        evidence={
            parent.id: {
                "skill": parent.card.niche.skill,
                "accuracy": _score(parent, parent.card.niche.skill),
                "base": _score(facts.base, parent.card.niche.skill),
            }
            if parent.card.niche
            else None
            for parent in facts.parents
        },
    )


def complementarity(facts: Facts) -> Finding:
    """Somebody has said why these parents belong together."""
    said = " ".join(facts.complementarity.split())
    short = len(said) <= LEAST_STATEMENT
    return finding(
        "complementarity",
        [f"parents.complementarity has {len(said)} characters, expected more than {LEAST_STATEMENT}"]
        if short
        else [],
        fine="the reason for merging these parents is stated",
        move="Say in parents.complementarity what each parent adds that the others lack.",
        evidence={"statement": said},
    )


def advisories(facts: Facts) -> Finding:
    """No known problem of safety or provenance is open."""
    problems = [
        f"{parent.id}: {advisory.id} ({advisory.severity}) {advisory.summary}"
        for parent in facts.family
        for advisory in parent.card.safety.advisories
        if not advisory.resolved
    ]
    return finding(
        "advisories",
        problems,
        fine="no advisory is open",
        move="Resolve it and say so in the card, or choose another parent.",
    )


def _stale(parent: Parent, suite: tuple[str, int]) -> Iterator[str]:
    report = parent.card.evaluation
    if report is None:
        yield "was never evaluated"
        return
    weights = parent.manifest.files[WEIGHTS].sha256
    if report.weights_sha256 != weights:
        yield f"its scores are of the weights {report.weights_sha256[:12]}, these are {weights[:12]}"
    if (report.suite, report.suite_version) != suite:
        yield f"its scores are of suite {report.suite} {report.suite_version}, expected {suite[0]} {suite[1]}"


def _missing(parent: Parent, facts: Facts) -> Iterator[str]:
    if parent.card.niche is None:
        yield "its card names no niche"
        return
    skill = parent.card.niche.skill
    own, base = _score(parent, skill), _score(facts.base, skill)
    if own is None:
        yield f"its card has no score on its niche {skill}"
        return
    if own < facts.niche_floor:
        yield f"it reaches {own:g} on its niche {skill}, expected at least {facts.niche_floor:g}"
    if facts.base and base is None:
        yield f"the base has no score on {skill} to compare with"
    if base is not None and own <= base:
        yield f"it reaches {own:g} on its niche {skill}, no more than the base with {base:g}"
    if skill not in facts.niches.get(parent.id, ()):
        yield f"the suite has no task of skill {skill} with parent: {parent.id}"


def _score(parent: Parent | None, skill: str) -> float | None:
    report = parent.card.evaluation if parent else None
    return report.scores.get(skill) if report else None
