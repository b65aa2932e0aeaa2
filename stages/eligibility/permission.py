"""Rules on what people allow: licences and restrictions of base and parents, for the stated intent.

What is found for the other intents is kept beside it (`terms`): a merge made for research is asked again when
somebody wants to publish it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.terms import INTENTS
from stages.core.records.verdict import Finding
from stages.eligibility import expressions, lattice, waivers
from stages.eligibility import restrictions as limits
from stages.eligibility.facts import Facts, Parent, finding
from stages.eligibility.lattice import Terms
from stages.eligibility.restrictions import Combined
from stages.eligibility.use import Use
from stages.eligibility.waivers import Applied

LICENCE_FILES: Final = ("COPYING", "LICENCE", "LICENSE", "LICENSE.md", "LICENSE.txt")
# Parts of a config.json that only a model has which reads more than text.
MULTIMODAL: Final = frozenset({"audio_config", "speech_config", "video_config", "vision_config"})


@dataclass(frozen=True)
class Licensed:
    """All licences of the family at once. stated: each, with what was chosen of it. problems: sentences."""

    terms: Terms
    stated: tuple[Mapping[str, Json], ...]
    problems: tuple[str, ...]


def licences(facts: Facts) -> Finding:
    """Weights and data of each model carry licences that the table knows; together they allow the intent."""
    found = licensed(facts)
    reasons = [*found.problems] or lattice.refusals(found.terms, facts.use)
    evidence: dict[str, Json] = {"intent": facts.intent, "stated": list(found.stated)}
    if not found.problems:
        evidence |= found.terms.to_json()
    return finding(
        "licences",
        reasons,
        fine=f"{found.terms.expression} allows the intent {facts.intent}",
        move="State every licence and choice in the cards or in parents.licence_choices, add missing rows to "
        "conf/licences, answer parents.regions, monthly_users and release_name, or lower parents.intent.",
        evidence=evidence,
    )


def restrictions(facts: Facts) -> Finding:
    """What the data of the base and the parents forbid does not include the intent."""
    applied, combined = restricted(facts)
    unknown = [
        f"{parent.id} leaves {name} open"
        for parent in facts.family
        for name in sorted(_of(parent, applied).unknown)
    ]
    return finding(
        "restrictions",
        [*limits.refusals(combined, facts.use), *unknown, *applied.problems, *_nothing_left(facts)],
        fine=f"no restriction forbids the intent {facts.intent}",
        move="Answer the open fields of the cards or record a waiver in parents.waivers (research alone), "
        "choose other parents, or lower parents.intent.",
        evidence={
            "intent": facts.intent,
            **combined.to_json(),
            "waivers": [waiver.to_json() for waiver in applied.used],
        },
    )


def terms(facts: Facts) -> Json:
    """The part `terms` of eligibility.json: what may be done with a merge of these parents, per intent."""
    found = licensed(facts)
    applied, combined = restricted(facts)
    decisions = {}
    for intent in INTENTS:
        use = replace(facts.use, intent=intent)
        reasons = [*found.problems] or lattice.refusals(found.terms, use)
        reasons = [*reasons, *limits.refusals(combined, use), *applied.problems]
        decisions[intent] = {"allowed": not reasons, "because": reasons}
    return {
        "licence": None if found.problems else found.terms.to_json(),
        "restrictions": combined.to_json(),
        "decisions": decisions,
        "contaminated": sorted(contaminated(facts)),
        "waivers": [waiver.to_json() for waiver in applied.used],
        "use": _stated(facts.use),
        "hub": None if found.problems else _hub(found.terms, facts),
    }


def licensed(facts: Facts) -> Licensed:
    """Every licence that the cards state, resolved and combined."""
    problems, labels, parts = [], [], []
    for parent in facts.family:
        licence = parent.card.licence
        recorded = {**licence.chosen, **facts.licence_choices}
        if not licence.data:
            problems.append(f"{parent.id} (data): no licence is stated")
        stated = [("weights", licence.weights), *(("data", expression) for expression in licence.data)]
        named: frozenset[str] = frozenset()
        for what, expression in stated:
            chosen, wrong = expressions.take(expression, facts.licences, recorded, facts.spellings)
            problems += [f"{parent.id} ({what}): {reason}" for reason in wrong]
            if chosen is not None:
                labels.append(
                    {"parent": parent.id, "of": what, "stated": expression, "chosen": chosen.expression}
                )
                parts.append(chosen if _multimodal(parent) else lattice.text_only(chosen))
                named |= chosen.identifiers
        problems += _other_text(parent, named, facts.licence_texts)
    stated_anywhere = {label["stated"] for label in labels}
    problems += [
        f"parents.licence_choices chooses of {expression!r}, which no card states"
        for expression in facts.licence_choices
        if expression not in stated_anywhere and not problems
    ]
    return Licensed(lattice.combine_all(parts), tuple(labels), tuple(problems))


def restricted(facts: Facts) -> tuple[Applied, Combined]:
    """The waivers held against the cards, and all restrictions at once."""
    cards = {parent.id: parent.card.restrictions for parent in facts.family}
    applied = waivers.apply(facts.waivers, cards, facts.as_of)
    return applied, limits.combine_all(_of(parent, applied) for parent in facts.family)


def contaminated(facts: Facts) -> frozenset[str]:
    """Tasks of the suite that some model saw in training, named by task, skill, suite or suite@version."""
    seen = {name.casefold() for name in restricted(facts)[1].contaminated}
    whole = bool(seen & {facts.suite[0].casefold(), f"{facts.suite[0]}@{facts.suite[1]}".casefold()})
    return frozenset(
        name for name, skill in facts.tasks.items() if whole or seen & {name.casefold(), skill.casefold()}
    )


def _nothing_left(facts: Facts) -> list[str]:
    """Parents whose every niche task is contaminated: no selection could see whether their niche is kept."""
    seen = contaminated(facts)
    skills = {facts.tasks[name] for name in seen}
    clean = {skill for name, skill in facts.tasks.items() if name not in seen}
    return [
        f"{parent.id}: all tasks of its niche are contaminated ({', '.join(sorted(niches))})"
        for parent in facts.parents
        if (niches := set(facts.niches.get(parent.id, ()))) and niches <= skills - clean
    ]


def _of(parent: Parent, applied: Applied) -> Combined:
    return limits.of(parent.card.restrictions, applied.fields.get(parent.id, ()))


def _multimodal(parent: Parent) -> bool:
    return bool(MULTIMODAL & parent.config.keys())


def _other_text(parent: Parent, named: frozenset[str], known: Mapping[str, str]) -> list[str]:
    """Licence files whose text is that of a row which the card does not name."""
    problems = []
    for name in LICENCE_FILES:
        record = parent.manifest.files.get(name)
        identifier = known.get(record.sha256) if record else None
        if identifier and not any(one.split(" WITH ")[0] == identifier for one in named):
            problems.append(
                f"{parent.id}: its {name} is the text of {identifier}, which its card does not name"
            )
    return problems


def _hub(found: Terms, facts: Facts) -> str | None:
    """The Hub's name of the one licence that is as strict as all of them together; None if none is."""
    for name, hub in sorted(facts.hub_identifiers.items()):
        alone = replace(
            facts.licences[name],
            identifiers=found.identifiers,
            excluded_multimodal=found.excluded_multimodal,
        )
        if name in found.identifiers and alone == found:
            return hub
    return None


def _stated(use: Use) -> Json:
    return {
        "intent": use.intent,
        "as_of": use.as_of.isoformat() if use.as_of else None,
        "regions": None if use.regions is None else sorted(use.regions),
        "monthly_users": use.monthly_users,
        "release_name": use.name,
    }
