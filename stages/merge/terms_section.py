"""The part of a model card that says what may be done with the merge: licences, obligations, restrictions."""

from collections.abc import Iterator, Sequence
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.terms import INTENTS, misnamed

UNJUDGED: Final = "No rule has judged what may be done with this merge."
HEAD: Final = """Licences and data of base and parents together, by the table conf/licences of that day
({read}). This is bookkeeping and no legal advice.

| intent | allowed | because |
|---|---|---|
{rows}"""


def front(terms: Json, licences: Sequence[str]) -> dict[str, str]:
    """The licence in the front matter: as the Hub spells it where one says all, else `other` and its name.

    licences: of the weights of each model, as its card states it. terms: part of eligibility.json, or None.
    """
    if terms is None:
        return {"license": licences[0].lower() if len(set(licences)) == 1 else "other"}
    if terms["hub"]:
        return {"license": terms["hub"]}
    return {
        "license": "other",
        "license_name": terms["licence"]["expression"] if terms["licence"] else "unknown",
    }


def section(terms: Json, identifier: str) -> str:
    """Markdown without a heading. identifier: of the candidate, held against the naming rules."""
    if terms is None:
        return UNJUDGED
    licence = terms["licence"] or {}
    reviewed = "every row read by a person" if licence.get("reviewed") else "not all rows read by a person"
    rows = "\n".join(
        f"| {intent} | {'yes' if found['allowed'] else '**no**'} | {_cell('; '.join(found['because']))} |"
        for intent, found in ((intent, terms["decisions"][intent]) for intent in INTENTS)
    )
    parts = [f"Licence: `{licence.get('expression', 'unknown')}`.", HEAD.format(read=reviewed, rows=rows)]
    for title, lines in (
        ("Whoever passes it on, or serves it, must:", [*_duties(licence)]),
        ("Its name:", [*_naming(licence, terms["use"]["release_name"] or identifier)]),
        ("What the data forbid:", [*_forbidden(terms)]),
    ):
        if lines:
            parts.append("\n".join([title, "", *(f"- {_line(line)}" for line in lines)]))
    return "\n\n".join(parts)


def _duties(licence: Json) -> Iterator[str]:
    yield from licence.get("obligations", ())
    for name in licence.get("share_alike", ()):
        yield f"pass it on under {name} and nothing else"
    for family in licence.get("families", ()):
        yield f"improve no model with it but those of the family {family}"
    for address in licence.get("use_policies", ()):
        yield f"hand on the rules of use: {address}"
    if licence.get("user_cap") is not None:
        yield f"ask for another licence above {licence['user_cap']} monthly users"
    for region in licence.get("excluded_regions", ()):
        yield f"not use it in {region}, where nothing is granted"


def _naming(licence: Json, name: str) -> Iterator[str]:
    rules = licence.get("naming", {"begins": (), "displays": ()})
    for words in rules["displays"]:
        yield f"**{words}**"
    for word in rules["begins"]:
        yield f"a model that is passed on must have a name that begins with “{word}”"
    if wrong := misnamed(name, rules["begins"]):
        yield f"“{name}” does not begin with {', '.join(f'“{word}”' for word in wrong)}: rename it first"


def _forbidden(terms: Json) -> Iterator[str]:
    found = terms["restrictions"]
    for key, words in (("noncommercial", "commercial use"), ("no_release", "any release")):
        if found[key]:
            yield words
    if found["pii"] != "none":
        yield f"a release: it was trained on {found['pii']} data of people"
    for key, words in (("regions", "use outside of"), ("purposes", "purposes other than")):
        if found[key] is not None:
            yield f"{words} {', '.join(found[key]) or 'nothing in common: every one'}"
    if found["consent_expires"]:
        yield f"use after {found['consent_expires']}, when consent expires"
    for key, words in (
        ("withdrawals", "use while these are in the weights, which were withdrawn:"),
        ("synthetic_from", "nothing by itself; training data were made by"),
        ("unknown", "everything, as long as these are unknown:"),
    ):
        if found[key]:
            yield f"{words} {', '.join(found[key])}"
    if terms["contaminated"]:
        yield f"belief in these tasks, which were seen in training: {', '.join(terms['contaminated'])}"
    for one in terms["waivers"]:
        what = f"{one['rule']} of {one['parent']} is unknown"
        yield f"all but research: {what}, waived by {one['by']} until {one['until']}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
