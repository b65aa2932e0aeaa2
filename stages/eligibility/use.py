"""What is to be done with the merge: the intent, and the facts on which a licence or a consent may depend.

All of it is stated in the request. Nothing is guessed: where a rule needs what is not stated, it refuses.
"""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from stages.core.records.terms import INTENTS

RELEASES: Final = frozenset(INTENTS) - {"research"}
COMMERCIAL: Final = frozenset({"publish", "serve"})
WORLD: Final = "WORLD"
# Members by ISO 3166: whoever is in one of them is in the union, and so in what excludes the union.
MEMBERS_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"  # in 2026
UNIONS: Final[Mapping[str, frozenset[str]]] = {"EU": frozenset(MEMBERS_EU.split())}


@dataclass(frozen=True)
class Use:
    """One use. Of what is None, nothing is stated.

    as_of: the day on which consents and waivers are judged. regions: where the lab and its users are: ISO
    3166 codes, `EU`, or `WORLD`. monthly_users: of the products of whoever uses the merge. name: under which
    it would be released.
    """

    intent: str
    as_of: datetime.date | None = None
    regions: frozenset[str] | None = None
    monthly_users: int | None = None
    name: str | None = None


def touched(regions: Iterable[str], used: frozenset[str]) -> list[str]:
    """Those of `regions` in which some of the use takes place, sorted.

    A union is touched by each of its members, and a member by its union.
    """
    return sorted(
        region for region in regions if WORLD in used or any(_overlap(region, place) for place in used)
    )


def outside(used: frozenset[str], allowed: frozenset[str]) -> list[str]:
    """The places of a use that lie in none of the `allowed` regions, sorted; `WORLD` lies in none."""
    return sorted(
        place
        for place in used
        if place not in allowed and not any(place in UNIONS.get(region, ()) for region in allowed)
    )


def _overlap(one: str, other: str) -> bool:
    return one == other or one in UNIONS.get(other, ()) or other in UNIONS.get(one, ())
