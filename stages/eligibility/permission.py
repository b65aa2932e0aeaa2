"""Rules on what people allow: licences and restrictions of base and parents, for the stated intent."""

from stages.core.records.verdict import Finding
from stages.eligibility import licences as lattice
from stages.eligibility import restrictions as limits
from stages.eligibility.facts import Facts, finding


def licences(facts: Facts) -> Finding:
    """Weights and data of each model carry licences that the table knows; together they allow the intent."""
    problems, labels, parts = [], [], []
    for parent in facts.family:
        licence = parent.card.licence
        if not licence.data:
            problems.append(f"{parent.id} (data): no licence is stated")
        stated = [("weights", licence.weights), *(("data", expression) for expression in licence.data)]
        for what, expression in stated:
            offered, wrong = lattice.alternatives(expression, facts.licences)
            problems += [f"{parent.id} ({what}): {reason}" for reason in wrong]
            labels.append({"parent": parent.id, "of": what, "stated": expression})
            parts.append(offered)
    evidence: dict[str, object] = {"intent": facts.intent, "stated": labels}
    if not problems:
        chosen, problems = lattice.decide(parts, facts.intent)
        for label, terms in zip(labels, chosen, strict=True):
            label["chosen"] = " AND ".join(sorted(terms.identifiers))
        evidence |= lattice.combine_all(chosen).to_json()
    return finding(
        "licences",
        problems,
        fine=f"{evidence.get('expression')} allows the intent {facts.intent}",
        move="State every licence in the cards, add missing rows to conf/licences, or lower parents.intent.",
        evidence=evidence,
    )


def restrictions(facts: Facts) -> Finding:
    """What the data of the base and the parents forbid does not include the intent."""
    combined = limits.combine_all(limits.of(parent.card.restrictions) for parent in facts.family)
    problems = limits.refusals(combined, facts.intent, facts.as_of)
    unknown = [
        f"{parent.id} leaves {name} open"
        for parent in facts.family
        for name in sorted(limits.of(parent.card.restrictions).unknown)
    ]
    return finding(
        "restrictions",
        problems + unknown,
        fine=f"no restriction forbids the intent {facts.intent}",
        move="Answer the open fields of the cards, choose other parents, or lower parents.intent.",
        evidence={"intent": facts.intent, **combined.to_json()},
    )
