"""Rules on what is known of the parents: what is each good at, does the evidence still hold, why together?"""

import re
from collections.abc import Iterator
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.card import Advisory
from stages.core.records.verdict import Finding
from stages.core.scoring.intervals import clopper_pearson
from stages.eligibility.advisories import REFUSES, Filed, touching
from stages.eligibility.facts import Facts, Parent, finding, plain, shown

LEAST_STATEMENT: Final = 20  # characters: shorter than a reason can be
LEAST_WORDS: Final = 4  # different ones beside the names: a verb and an object for each of two parents
WORD: Final = re.compile(r"[^\W\d_]{2,}[\w-]*")
PLACEHOLDERS: Final = (
    "todo",
    "tbd",
    "fixme",
    "xxx",
    "lorem ipsum",
    "placeholder",
    "to be decided",
    "n/a",
    "fill in",
)


def evaluation_current(facts: Facts) -> Finding:
    """Every card reports on these weights and this version of the suite."""
    problems = [
        f"{parent.id}: {problem}" for parent in facts.family for problem in _stale(parent, facts.suite)
    ]
    return finding(
        "evaluation_current",
        problems,
        fine=f"every card reports on these weights and suite {facts.suite[0]} {facts.suite[1]}",
        move="Run `mergelab parents measure --write`, which measures them and writes their cards.",
        evidence={
            parent.id: parent.card.evaluation.model_dump(include={"suite", "suite_version", "weights_sha256"})
            if parent.card.evaluation
            else None
            for parent in facts.family
        },
    )


def niche(facts: Facts) -> Finding:
    """Each parent demonstrably has a niche of its own: above the floor, above the base, and in the suite.

    Above means the lower bound of its accuracy: a few lucky items prove no niche.
    """
    problems = [f"{parent.id}: {problem}" for parent in facts.parents for problem in _missing(parent, facts)]
    return finding(
        "niche",
        problems,
        fine=f"each parent is shown to reach {facts.policy.niche_accuracy:g} on its niche, above the base",
        move="A merge cannot keep a niche that was never learnt: train the parent further, or leave it out.",
        evidence={parent.id: _shown(parent, facts) for parent in facts.parents},
    )


def complementarity(facts: Facts) -> Finding:
    """Somebody has said why these parents belong together, each of them by its name."""
    said = " ".join(facts.complementarity.split())
    names = [parent.id for parent in facts.parents]
    unnamed = [name for name in names if not _names(said, name)]
    words = {word.lower() for word in WORD.findall(said) if word.lower() not in names}
    problems = []
    if len(said) <= LEAST_STATEMENT:
        problems.append(
            f"parents.complementarity has {len(said)} characters, expected more than {LEAST_STATEMENT}"
        )
    if unnamed:
        problems.append(f"parents.complementarity does not name {shown(unnamed)}")
    if placeholders := [phrase for phrase in PLACEHOLDERS if _names(said.lower(), phrase)]:
        problems.append(f"parents.complementarity holds the placeholder {shown(placeholders)}")
    if len(words) < LEAST_WORDS:
        problems.append(
            f"parents.complementarity says {len(words)} different words beside names, expected {LEAST_WORDS}"
        )
    return finding(
        "complementarity",
        problems,
        fine="the reason for merging these parents is stated, and names each of them",
        move="Say in parents.complementarity what each parent adds that the others lack.",
        evidence={"statement": said, "named": [name for name in names if name not in unnamed]},
    )


def advisories(facts: Facts) -> Finding:
    """No known problem of safety or provenance is open that the intent cannot bear.

    What a parent's own card leaves open refuses whatever its severity: its author can close it.
    """
    problems, listed = [], []
    for parent in facts.family:
        for advisory in parent.card.safety.advisories:
            listed.append(_listed(parent, advisory, "its card"))
            if not advisory.resolved:
                problems.append(f"{parent.id}: {advisory.id} ({advisory.severity}) {advisory.summary}")
        for filed, what in touching(facts.advisories, _digests(parent)):
            listed.append(_listed(parent, filed, f"{filed.source}, by the digest of {what}"))
            if not filed.resolved and facts.intent in REFUSES[filed.severity]:
                problems.append(f"{parent.id}: {filed.id} ({filed.severity}) {filed.summary}")
    still = sum(not one["resolved"] for one in listed)
    return finding(
        "advisories",
        problems,
        fine=f"no advisory forbids the intent {facts.intent} ({len(listed)} listed, {still} of them open)",
        move="Resolve it and say so in the card or in conf/advisories, or choose another parent.",
        evidence={"filed": len(facts.advisories), "listed": listed},
    )


def _listed(parent: Parent, advisory: Advisory | Filed, source: str) -> dict[str, object]:
    return {
        "parent": parent.id,
        "id": advisory.id,
        "severity": advisory.severity,
        "summary": advisory.summary,
        "resolved": advisory.resolved,
        "source": source,
    }


def _digests(parent: Parent) -> dict[str, str]:
    """What an advisory may name of a parent: every file by its sha256, and the parent as a whole."""
    files = {name: record.sha256 for name, record in parent.manifest.files.items()}
    return {**files, "the parent": parent.manifest.digest}


def _names(said: str, phrase: str) -> bool:
    """Whether a phrase stands in the statement by itself: `sort` is not named by `resorts` or `sort-2`."""
    return re.search(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", said) is not None


def _stale(parent: Parent, suite: tuple[str, int]) -> Iterator[str]:
    report = parent.card.evaluation
    if report is None:
        yield "was never evaluated"
        return
    weights = parent.manifest.weights_sha256
    if report.weights_sha256 != weights:
        yield f"its scores are of the weights {report.weights_sha256[:12]}, these are {weights}"
    if (report.suite, report.suite_version) != suite:
        yield f"its scores are of suite {report.suite} {report.suite_version}, expected {suite[0]} {suite[1]}"


def _missing(parent: Parent, facts: Facts) -> Iterator[str]:
    if parent.card.niche is None:
        yield "its card names no niche"
        return
    skill = parent.card.niche.skill
    own, base, floor = _score(parent, skill), _score(facts.base, skill), facts.policy.niche_accuracy
    if own is None:
        yield f"its card has no score on its niche {skill}"
        return
    least = _lower_bound(parent, skill, facts.confidence)
    if least is None:
        yield f"its card does not say of how many items its score on {skill} is"
        return
    doubt = f"at {facts.confidence:g} confidence it is only shown to reach {least:.3f} on its niche {skill}"
    if own < floor:
        yield f"it reaches {own:g} on its niche {skill}, expected at least {floor:g}"
    elif least < floor:
        yield f"{doubt}, expected at least {floor:g}: measure it on more items"
    if facts.base and base is None:
        yield f"the base has no score on {skill} to compare with"
    if base is not None and own <= base:
        yield f"it reaches {own:g} on its niche {skill}, no more than the base with {base:g}"
    elif base is not None and least <= base:
        yield f"{doubt}, no more than the base with {base:g}: measure it on more items"
    if skill not in facts.niches.get(parent.id, ()):
        yield f"the suite has no task of skill {skill} with parent: {parent.id}"


def _score(parent: Parent | None, skill: str) -> float | None:
    report = parent.card.evaluation if parent else None
    return report.scores.get(skill) if report else None


def _lower_bound(parent: Parent, skill: str, confidence: float) -> float | None:
    """Lower end of the exact interval of its accuracy; None where the card has no score or number of items.

    A score that is no whole number of items is rounded down to one.
    """
    report, score = parent.card.evaluation, _score(parent, skill)
    items = report.items.get(skill) if report else None
    if items is None or score is None:
        return None
    return clopper_pearson(min(items, int(score * items + 1e-6)), items, confidence).low


def _shown(parent: Parent, facts: Facts) -> Json:
    if parent.card.niche is None:
        return None
    skill = parent.card.niche.skill
    least = _lower_bound(parent, skill, facts.confidence)
    report = parent.card.evaluation
    return {
        "skill": skill,
        "accuracy": _score(parent, skill),
        "items": report.items.get(skill) if report else None,
        "at_least": None if least is None else plain(least),
        "base": _score(facts.base, skill),
    }
