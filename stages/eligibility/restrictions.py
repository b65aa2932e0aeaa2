"""What the parents' data forbid, combined. A lattice: each field moves one way as parents are added.

Flags by "any", classes by the stricter, regions and purposes by intersection, dates by the earlier, lists by
union; whatever a card leaves unknown stays unknown in the combination, and unknown refuses.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import reduce
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.card import PII, Restrictions

RELEASES: Final = frozenset({"publish-noncommercial", "publish", "serve"})
COMMERCIAL: Final = frozenset({"publish", "serve"})
PII_ALLOWED: Final = {
    "none": True,
    "pseudonymous": False,
}  # class → may it leave the lab? Other classes: no use


@dataclass(frozen=True)
class Combined:
    """Restrictions of several parents at once. regions, purposes: None is anywhere, anything."""

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

    def to_json(self) -> Json:
        """The tree kept as evidence; sets sorted, unrestricted regions and purposes as null."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def of(card: Restrictions) -> Combined:
    """One card's restrictions as an element of the lattice."""
    return Combined(
        noncommercial=bool(card.noncommercial),
        no_release=bool(card.no_release),
        pii=card.pii or PII[0],
        regions=frozenset(card.regions) or None,
        purposes=frozenset(card.purposes) or None,
        consent_expires=card.consent_expires,
        withdrawals=frozenset(card.withdrawals),
        contaminated=frozenset(card.contaminated),
        synthetic_from=frozenset(card.synthetic_from),
        unknown=frozenset(
            name for name in ("noncommercial", "no_release", "pii") if getattr(card, name) is None
        ),
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
    )


def combine_all(restrictions: Iterable[Combined]) -> Combined:
    """All at once; of nothing, no restriction."""
    return reduce(combine, restrictions, Combined())


def refusals(combined: Combined, intent: str, as_of: datetime.date | None) -> list[str]:
    """Every reason why the intent is forbidden on the day `as_of`; [] if it is not.

    Contaminated benchmarks and synthetic origins refuse nothing here: they are kept as evidence.
    """
    found = []
    if combined.unknown:
        found.append(f"unknown: {', '.join(sorted(combined.unknown))}")
    if combined.no_release and intent in RELEASES:
        found.append(f"no_release forbids the intent {intent}")
    if combined.noncommercial and intent in COMMERCIAL:
        found.append(f"noncommercial forbids the intent {intent}")
    if not PII_ALLOWED.get(combined.pii, False) and (combined.pii not in PII_ALLOWED or intent in RELEASES):
        found.append(f"{combined.pii} data of people forbid the intent {intent}")
    found += _places(combined, intent)
    if combined.consent_expires and as_of is None:
        found.append(
            f"consent expires on {combined.consent_expires}, and the request states no day to judge by"
        )
    elif combined.consent_expires and as_of and as_of > combined.consent_expires:
        found.append(f"consent expired on {combined.consent_expires}, before {as_of}")
    if combined.withdrawals:
        found.append(f"withdrawn and still in the weights: {', '.join(sorted(combined.withdrawals))}")
    return found


def _places(combined: Combined, intent: str) -> list[str]:
    found = []
    if combined.regions == frozenset():
        found.append("the parents have no region in common")
    elif combined.regions and intent in RELEASES:
        allowed = ", ".join(sorted(combined.regions))
        found.append(f"use is limited to {allowed}, which the intent {intent} cannot ensure")
    if combined.purposes is not None and intent not in combined.purposes:
        allowed = ", ".join(sorted(combined.purposes)) or "none in common"
        found.append(f"the purposes allowed are {allowed}, not {intent}")
    return found


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _plain(value: object) -> Json:
    if isinstance(value, frozenset):
        return sorted(value)
    return value.isoformat() if isinstance(value, datetime.date) else value
