"""May the parents' licences be combined, and for what? A lattice over a table that people review.

Each row of conf/licences holds permissions (yes, unknown, no), obligations and a share-alike name. They
combine by the least permission and the union of obligations, so that one more parent can only take away.
An `OR` in an SPDX expression is a choice: the first combination that allows the intent is taken and recorded.
This is bookkeeping of what the table says, and no legal advice.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, reduce
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from license_expression import ExpressionError, get_spdx_licensing
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from stages.core.errors import BadRequest
from stages.core.records.canonical import Json

MOST_ALTERNATIVES: Final = 256  # combinations of OR branches over all parents
MOST_CHARACTERS: Final = 1000  # of one SPDX expression


class Level(IntEnum):
    """How far something is permitted; the order is the lattice's."""

    no = 0
    unknown = 1
    yes = 2


PERMISSIONS: Final = ("use", "modify", "share", "commercial", "serve")
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "research": ("use", "modify"),
    "publish-noncommercial": ("use", "modify", "share"),
    "publish": ("use", "modify", "share", "commercial"),
    "serve": ("use", "modify", "commercial", "serve"),
}


@dataclass(frozen=True)
class Terms:
    """What a licence, or several at once, permit and ask for. reviewed: a person has read every row used."""

    identifiers: frozenset[str]
    permissions: tuple[Level, ...] = (Level.yes,) * len(PERMISSIONS)
    obligations: frozenset[str] = frozenset()
    share_alike: frozenset[str] = frozenset()
    reviewed: bool = True

    def to_json(self) -> Json:
        """The tree kept as evidence."""
        return {
            "expression": " AND ".join(sorted(self.identifiers)),
            "permissions": {
                name: level.name for name, level in zip(PERMISSIONS, self.permissions, strict=True)
            },
            "obligations": sorted(self.obligations),
            "share_alike": sorted(self.share_alike),
            "reviewed": self.reviewed,
        }


NEUTRAL: Final = Terms(frozenset())


class Permissions(BaseModel):
    """yes, unknown or no for each; YAML's bare yes and no, which it reads as booleans, are meant too."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    use: Literal["yes", "unknown", "no"]
    modify: Literal["yes", "unknown", "no"]
    share: Literal["yes", "unknown", "no"]
    commercial: Literal["yes", "unknown", "no"]
    serve: Literal["yes", "unknown", "no"]

    @field_validator("*", mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


class Row(BaseModel):
    """One file of conf/licences, named by its SPDX identifier."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    spdx: str
    title: str
    version: int = Field(ge=1)
    source: str
    reviewed: bool
    permissions: Permissions
    obligations: tuple[str, ...]
    share_alike: str | None

    def terms(self) -> Terms:
        """The row as an element of the lattice."""
        levels = self.permissions.model_dump()
        return Terms(
            frozenset({self.spdx}),
            tuple(Level[levels[name]] for name in PERMISSIONS),
            frozenset(self.obligations),
            frozenset({self.share_alike} if self.share_alike else ()),
            self.reviewed,
        )


def load_table(folder: Path) -> dict[str, Terms]:
    """SPDX identifier → terms, of every conf/licences/*.yaml. Raises BadRequest with every malformed row."""
    table, problems = {}, []
    for path in sorted(folder.glob("*.yaml")):
        try:
            row = Row.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, ValidationError) as problem:
            problems.append(f"{path}: {problem}")
            continue
        if row.spdx != path.stem:
            problems.append(f"{path}: spdx: expected {path.stem!r}, the file's name, got {row.spdx!r}")
        table[row.spdx] = row.terms()
    if problems or not table:
        raise BadRequest(problems or [f"{folder} holds no licence: expected <SPDX identifier>.yaml"])
    return table


def combine(one: Terms, other: Terms) -> Terms:
    """Both at once: commutative, associative, idempotent; never permits more than either."""
    return Terms(
        one.identifiers | other.identifiers,
        tuple(map(min, one.permissions, other.permissions)),
        one.obligations | other.obligations,
        one.share_alike | other.share_alike,
        one.reviewed and other.reviewed,
    )


def combine_all(terms: Iterable[Terms]) -> Terms:
    """All at once; of nothing, the element that permits everything and asks for nothing."""
    return reduce(combine, terms, NEUTRAL)


def refusals(terms: Terms, intent: str) -> list[str]:
    """Every reason why `terms` do not allow the intent; [] if they do."""
    levels = dict(zip(PERMISSIONS, terms.permissions, strict=True))
    named = " AND ".join(sorted(terms.identifiers))
    found = []
    for name in NEEDS[intent]:
        if levels[name] is not Level.yes:
            answer = "is not permitted" if levels[name] is Level.no else "may not be permitted (unknown)"
            found.append(f"{name} {answer} by {named}")
    if len(terms.share_alike) > 1:
        found.append(f"share-alikes exclude each other: {', '.join(sorted(terms.share_alike))}")
    if intent != "research" and not terms.reviewed:
        found.append(f"no person has reviewed all rows of {named}, which allows the intent research alone")
    return found


def alternatives(expression: str, table: Mapping[str, Terms]) -> tuple[list[Terms], list[str]]:
    """The combinations that an SPDX expression offers, in the order written, and what is wrong with it.

    An identifier that the table lacks is a problem, and permits nothing.
    """
    if not expression.strip():
        return [], ["no licence is stated"]
    if len(expression) > MOST_CHARACTERS:
        return [], [f"an SPDX expression of {len(expression)} characters; the limit is {MOST_CHARACTERS}"]
    try:
        tree = _spdx().parse(expression, validate=False, strict=True)
    except (ExpressionError, ValueError, RecursionError) as problem:
        return [], [f"{expression[:80]!r} is no SPDX expression ({problem})"]
    sets = _branches(tree)
    if len(sets) > MOST_ALTERNATIVES:
        return [], [f"{expression[:80]!r} offers more than {MOST_ALTERNATIVES} combinations"]
    unknown = sorted(frozenset(itertools.chain(*sets)) - table.keys())
    if unknown:
        return [], [f"{', '.join(unknown)}: not in conf/licences ({', '.join(table)})"]
    return [combine_all(table[name] for name in names) for names in sets], []


def decide(parts: Sequence[Sequence[Terms]], intent: str) -> tuple[tuple[Terms, ...], list[str]]:
    """One alternative for each part, the first choice that allows the intent, and its refusals.

    Where none allows it, the first choice of all stands, with its refusals.
    """
    choices = itertools.islice(itertools.product(*parts), MOST_ALTERNATIVES)
    first: tuple[tuple[Terms, ...], list[str]] | None = None
    for choice in choices:
        reasons = refusals(combine_all(choice), intent)
        if not reasons:
            return choice, []
        first = first or (choice, reasons)
    return first or ((), ["no licence is stated"])


@cache
def _spdx() -> Any:
    """The parser with its list of identifiers, which takes 30 ms to build."""
    return get_spdx_licensing()


def _branches(tree: Any) -> list[tuple[str, ...]]:
    """Disjunctive normal form of a parsed expression: sets of identifiers, of which one may be chosen."""
    operator = getattr(tree, "operator", None)
    if operator is None:
        return [(str(tree),)]
    parts = [_branches(part) for part in tree.args]
    if operator.strip() == "OR":
        return [branch for part in parts for branch in part]
    products = itertools.islice(itertools.product(*parts), MOST_ALTERNATIVES + 1)
    return [tuple(itertools.chain(*product)) for product in products]
