"""What may be done with a merge, as stages tell each other: the part `terms` of data/eligibility.json.

Eligibility writes it, merge copies it into lineage and model card; it is no part of a candidate's identity.

    licence       the combined licences: expression, permissions, obligations, … (eligibility/lattice.py)
    restrictions  the combined restrictions of the data (eligibility/restrictions.py)
    decisions     intent → {allowed, because}: for every intent, not for the requested one alone
    hub           the Hub's name of the one licence that asks for all that the others do; null if none does
    contaminated  tasks of the suite that no selection may rest on
    waivers       unknowns that somebody took responsibility for, for research
    use           what the request states: intent, day, regions, monthly users, release name
"""

from collections.abc import Iterable

from stages.core.records.canonical import Json

KEY = "terms"
INTENTS = ("research", "publish-noncommercial", "publish", "serve")


def of_verdict(verdict: Json) -> Json:
    """The terms in a tree of eligibility.json; None in one that a hand wrote or an older lab left."""
    return verdict.get(KEY)


def contaminated(verdict: Json) -> frozenset[str]:
    """Tasks of the suite on which no selection may rest, by a tree of eligibility.json.

    None where eligibility refused: nothing is selected then, and every task describes the baselines.
    """
    return (
        frozenset((of_verdict(verdict) or {}).get("contaminated", ())) if verdict["passed"] else frozenset()
    )


def misnamed(name: str, begins: Iterable[str]) -> list[str]:
    """The words with which a shared merge's name must begin and `name` does not, sorted; case counts."""
    return sorted(word for word in begins if not name.startswith(word))
