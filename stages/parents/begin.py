"""Cards begun for parents that have none: what the request knows is filled in, what a person knows is not."""

from pathlib import Path

from stages.conf import Member, Request
from stages.core.records import card as cards
from stages.core.records.canonical import Json
from stages.core.records.files import write_text
from stages.core.records.source import Repository


def begin(request: Request, root: Path) -> list[Path]:
    """Write a card for base and each parent that has none in the repository; which were written.

    Each is complete in form, and refused until its unknowns are answered (records/card.py).
    """
    parents = request.parents
    begun = []
    for name in dict.fromkeys([parents.base, *parents.merge]):
        place = card_file(parents.members[name])
        if place is not None and not (root / place).exists():
            write_text(root / place, cards.text(_card(name, request)))
            begun.append(place)
    return begun


def card_file(member: Member) -> Path | None:
    """Where a member's card lies, relative to the repository; None where that is not in it."""
    if member.card is not None:
        return Path(member.card)
    return Path(member.source.path) / cards.NAME if isinstance(member.source, Repository) else None


def _card(name: str, request: Request) -> Json:
    base = request.parents.base
    known = cards.template(name) | {"family": base}
    if name == base:
        return known | {"role": "base", "base": None, "niche": None}
    own = [task.skill or key for key, task in request.suite.tasks.items() if task.parent == name]
    return known | {"base": base, "niche": known["niche"] | ({"skill": own[0]} if own else {})}
