"""Waivers: who takes responsibility for an unknown, of which parent, why, and until when.

A waiver covers a restriction that a card leaves open, for the intent research and no other. It covers nothing
that is known: what is forbidden stays forbidden.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.core.records.canonical import Json
from stages.core.records.card import Restrictions
from stages.eligibility.restrictions import OPEN


@dataclass(frozen=True)
class Waiver:
    """One entry of parents.waivers. rule: a field of the card's restrictions. until: its last day."""

    parent: str
    rule: str
    why: str
    by: str
    until: datetime.date

    def to_json(self) -> Json:
        """The tree kept as evidence."""
        return {
            "parent": self.parent,
            "rule": self.rule,
            "why": self.why,
            "by": self.by,
            "until": self.until.isoformat(),
        }


@dataclass(frozen=True)
class Applied:
    """The waivers of a request, held against the cards. fields: parent → what is waived for it."""

    fields: Mapping[str, frozenset[str]]
    used: tuple[Waiver, ...]
    problems: tuple[str, ...]


def apply(
    waivers: Sequence[Waiver], cards: Mapping[str, Restrictions], as_of: datetime.date | None
) -> Applied:
    """Which unknowns of `cards` (parent id → restrictions) the waivers cover on the day `as_of`.

    One that cannot be used waives nothing and is a problem: a record must say what it does.
    """
    fields: dict[str, frozenset[str]] = {}
    used, problems = [], []
    for waiver in waivers:
        if wrong := _problem(waiver, cards, as_of):
            problems.append(f"the waiver of {waiver.rule} for {waiver.parent} by {waiver.by}: {wrong}")
        else:
            fields[waiver.parent] = fields.get(waiver.parent, frozenset()) | {waiver.rule}
            used.append(waiver)
    return Applied(fields, tuple(used), tuple(problems))


def _problem(waiver: Waiver, cards: Mapping[str, Restrictions], as_of: datetime.date | None) -> str | None:
    """Why it waives nothing; None if it does waive something."""
    if waiver.parent not in cards:
        return f"no such model is merged here (one of: {', '.join(cards)})"
    if waiver.rule not in OPEN:
        return f"only what a card leaves open can be waived (one of: {', '.join(OPEN)})"
    if getattr(cards[waiver.parent], waiver.rule) is not None:
        return "the card answers that field: remove the waiver"
    if as_of is None:
        return f"it ends on {waiver.until}, and the request states no day to judge by"
    if as_of > waiver.until:
        return f"it ended on {waiver.until}, before {as_of}"
    return None
