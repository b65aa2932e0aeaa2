"""What the parents' data forbid, combined. A lattice: each field moves one way as parents are added.

Flags by "any", classes by the stricter, regions and purposes by intersection, dates by the earlier, lists by
union; whatever a card leaves unknown stays unknown in the combination, and unknown refuses. A recorded waiver
turns the unknown of one parent into `waived`, which allows the intent research and no other.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import reduce
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.card import PII, Restrictions
from stages.eligibility.use import COMMERCIAL, RELEASES, Use, outside

LISTS: Final = ("regions", "purposes", "withdrawals", "contaminated", "synthetic_from")
OPEN: Final = ("noncommercial", "no_release", "pii", *LISTS)  # what a card may leave open with null
PII_ALLOWED: Final = {
    "none": True,
    "pseudonymous": False,
}  # class → may it leave the lab? Other classes: no use


@dataclass(frozen=True)
class Combined:
    """Restrictions of several parents at once. regions, purposes: None is anywhere, anything.

    unknown: fields that a card leaves open. waived: the same, where somebody took responsibility for it.
    """

    noncommercial: bool = False
    no_release: bool = False
    pii: str = PII[0]
    regions: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    consent_expires: datetime.date | None = None
    withdrawals: frozenset[str] = frozenset()
    contaminated: frozenset[str] = frozenset()
    synthetic_from: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    waived: frozenset[str] = frozenset()

    def to_json(self) -> Json:
        """The tree kept as evidence; sets sorted, unrestricted regions and purposes as null."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def of(card: Restrictions, waived: Iterable[str] = ()) -> Combined:
    """One card's restrictions as an element of the lattice. waived: fields whose unknown somebody waived."""
    left_open = frozenset(name for name in OPEN if getattr(card, name) is None)
    return Combined(
        noncommercial=bool(card.noncommercial),
        no_release=bool(card.no_release),
        pii=card.pii or PII[0],
        regions=frozenset(card.regions or ()) or None,
        purposes=frozenset(card.purposes or ()) or None,
        consent_expires=card.consent_expires,
        withdrawals=frozenset(card.withdrawals or ()),
        contaminated=frozenset(card.contaminated or ()),
        synthetic_from=frozenset(card.synthetic_from or ()),
        unknown=left_open - frozenset(waived),
        waived=left_open & frozenset(waived),
    )


def combine(one: Combined, other: Combined) -> Combined:
    """Both at once: commutative, associative, idempotent; never allows more than either."""
    return Combined(
        noncommercial=one.noncommercial or other.noncommercial,
        no_release=one.no_release or other.no_release,
        pii=max(one.pii, other.pii, key=PII.index),
        regions=_both(one.regions, other.regions),
        purposes=_both(one.purposes, other.purposes),
        consent_expires=min(filter(None, (one.consent_expires, other.consent_expires)), default=None),
        withdrawals=one.withdrawals | other.withdrawals,
        contaminated=one.contaminated | other.contaminated,
        synthetic_from=one.synthetic_from | other.synthetic_from,
        unknown=one.unknown | other.unknown,
        waived=one.waived | other.waived,
    )


def combine_all(restrictions: Iterable[Combined]) -> Combined:
    """All at once; of nothing, no restriction."""
    return reduce(combine, restrictions, Combined())


def refusals(combined: Combined, use: Use) -> list[str]:
    """Every reason why the use is forbidden; [] if it is not.

    Contaminated benchmarks and synthetic origins refuse nothing here: they are kept as evidence.
    """
    found = []
    if combined.unknown:
        found.append(f"unknown: {', '.join(sorted(combined.unknown))}")
    if combined.waived and use.intent in RELEASES:
        found.append(f"unknown, and waived for research alone: {', '.join(sorted(combined.waived))}")
    if combined.no_release and use.intent in RELEASES:
        found.append(f"no_release forbids the intent {use.intent}")
    if combined.noncommercial and use.intent in COMMERCIAL:
        found.append(f"noncommercial forbids the intent {use.intent}")
    if not PII_ALLOWED.get(combined.pii, False) and (
        combined.pii not in PII_ALLOWED or use.intent in RELEASES
    ):
        found.append(f"{combined.pii} data of people forbid the intent {use.intent}")
    found += [*_places(combined, use), *_consent(combined, use)]
    if combined.withdrawals:
        found.append(f"withdrawn and still in the weights: {', '.join(sorted(combined.withdrawals))}")
    return found


def _places(combined: Combined, use: Use) -> list[str]:
    found = []
    allowed = ", ".join(sorted(combined.regions or ()))
    if combined.regions == frozenset():
        found.append("the parents have no region in common")
    elif combined.regions and use.regions is None and use.intent in RELEASES:
        found.append(f"use is limited to {allowed}, which the intent {use.intent} cannot ensure")
    elif combined.regions and use.regions and (beyond := outside(use.regions, combined.regions)):
        found.append(f"use is limited to {allowed}, and the request places it in {', '.join(beyond)}")
    if combined.purposes is not None and use.intent not in combined.purposes:
        allowed = ", ".join(sorted(combined.purposes)) or "none in common"
        found.append(f"the purposes allowed are {allowed}, not {use.intent}")
    return found


def _consent(combined: Combined, use: Use) -> list[str]:
    """Consents are judged on the day that the request states, and on no other."""
    if combined.consent_expires is None:
        return []
    if use.as_of is None:
        return [f"consent expires on {combined.consent_expires}, and the request states no day to judge by"]
    if use.as_of > combined.consent_expires:
        return [f"consent expired on {combined.consent_expires}, before {use.as_of}"]
    return []


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _plain(value: object) -> Json:
    if isinstance(value, frozenset):
        return sorted(value)
    return value.isoformat() if isinstance(value, datetime.date) else value
