"""Licences combined: a lattice in which one more licence can only take away.

Permissions combine by the least, obligations by union, caps by the smaller, excluded regions by union; two
share-alikes exclude each other. This is bookkeeping of what conf/licences says, and no legal advice.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import reduce
from itertools import combinations
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.terms import misnamed
from stages.eligibility.use import COMMERCIAL, RELEASES, Use, touched


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
    """What a licence, or several at once, permit and ask for.

    share_alike: names of the licences under which alone a merge may be passed on. passed_on: what those give
    to whoever receives it, which no other licence may then take away. families: models which alone may be
    improved. user_cap: monthly users above which nothing is granted; None is no cap. begins: how the name of
    a shared merge begins. displays: what its documentation shows. use_policies: addresses of rules of use
    that bind everybody who receives it. excluded: regions without a grant; excluded_multimodal: the same for
    models that read more than text. reviewed: a person has read every row used.
    """

    identifiers: frozenset[str]
    permissions: tuple[Level, ...] = (Level.yes,) * len(PERMISSIONS)
    obligations: frozenset[str] = frozenset()
    share_alike: frozenset[str] = frozenset()
    reviewed: bool = True
    passed_on: tuple[Level, ...] = (Level.no,) * len(PERMISSIONS)
    families: frozenset[str] = frozenset()
    user_cap: int | None = None
    begins: frozenset[str] = frozenset()
    displays: frozenset[str] = frozenset()
    use_policies: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    excluded_multimodal: frozenset[str] = frozenset()

    @property
    def expression(self) -> str:
        """The SPDX expression of all of them at once, identifiers sorted; empty for none."""
        return " AND ".join(sorted(self.identifiers))

    def to_json(self) -> Json:
        """The tree kept as evidence, in the lineage and for the model card."""
        return {
            "expression": self.expression,
            "permissions": {
                name: level.name for name, level in zip(PERMISSIONS, self.permissions, strict=True)
            },
            "obligations": sorted(self.obligations),
            "share_alike": sorted(self.share_alike),
            "reviewed": self.reviewed,
            "families": sorted(self.families),
            "user_cap": self.user_cap,
            "naming": {"begins": sorted(self.begins), "displays": sorted(self.displays)},
            "use_policies": sorted(self.use_policies),
            "excluded_regions": sorted(self.excluded | self.excluded_multimodal),
        }


NEUTRAL: Final = Terms(frozenset())


def text_only(terms: Terms) -> Terms:
    """The terms for a model that reads text alone: what they say of multimodal ones does not apply."""
    return replace(terms, excluded_multimodal=frozenset())


def combine(one: Terms, other: Terms) -> Terms:
    """Both at once: commutative, associative, idempotent; never permits more than either."""
    return Terms(
        identifiers=one.identifiers | other.identifiers,
        permissions=tuple(map(min, one.permissions, other.permissions)),
        obligations=one.obligations | other.obligations,
        share_alike=one.share_alike | other.share_alike,
        reviewed=one.reviewed and other.reviewed,
        passed_on=tuple(map(max, one.passed_on, other.passed_on)),
        families=one.families | other.families,
        user_cap=min((cap for cap in (one.user_cap, other.user_cap) if cap is not None), default=None),
        begins=one.begins | other.begins,
        displays=one.displays | other.displays,
        use_policies=one.use_policies | other.use_policies,
        excluded=one.excluded | other.excluded,
        excluded_multimodal=one.excluded_multimodal | other.excluded_multimodal,
    )


def combine_all(terms: Iterable[Terms]) -> Terms:
    """All at once; of nothing, the element that permits everything and asks for nothing."""
    return reduce(combine, terms, NEUTRAL)


def refusals(terms: Terms, use: Use) -> list[str]:
    """Every reason why `terms` do not allow the use; [] if they do."""
    levels = dict(zip(PERMISSIONS, terms.permissions, strict=True))
    found = []
    for name in NEEDS[use.intent]:
        if levels[name] is not Level.yes:
            answer = "is not permitted" if levels[name] is Level.no else "may not be permitted (unknown)"
            found.append(f"{name} {answer} by {terms.expression}")
    if len(terms.share_alike) > 1:
        found.append(f"share-alikes exclude each other: {', '.join(sorted(terms.share_alike))}")
    if len(terms.families) > 1:
        families = ", ".join(sorted(terms.families))
        found.append(f"each of these may improve models of its own family alone: {families}")
    found += _place_and_size(terms, use)
    if use.intent in RELEASES:
        found += [*_share_alike(terms), *_naming(terms, use)]
        if not terms.reviewed:
            rows = terms.expression
            found.append(f"no person has reviewed all rows of {rows}, which allows the intent research alone")
    return found


def _place_and_size(terms: Terms, use: Use) -> Iterator[str]:
    """Regions without a grant, and the cap on users. What is not stated refuses, where it matters."""
    excluded = terms.excluded | terms.excluded_multimodal
    if excluded and use.regions is None:
        yield f"nothing is granted in {', '.join(sorted(excluded))}, and the request states no regions"
    elif excluded and (within := touched(excluded, use.regions or frozenset())):
        yield f"nothing is granted in {', '.join(within)}, where the request places the use"
    if terms.user_cap is None:
        return
    if use.monthly_users is None and use.intent in COMMERCIAL:
        yield f"nothing is granted above {terms.user_cap} monthly users, and the request states no number"
    elif use.monthly_users is not None and use.monthly_users > terms.user_cap:
        yield f"nothing is granted above {terms.user_cap} monthly users, and the request states more"


def _share_alike(terms: Terms) -> Iterator[str]:
    """A share-alike licence lets nobody add a restriction: neither a weaker grant nor a further rule."""
    if not terms.share_alike:
        return
    names = ", ".join(sorted(terms.share_alike))
    for name, granted, least in zip(PERMISSIONS, terms.permissions, terms.passed_on, strict=True):
        if granted < least:
            yield f"{names} must be passed on with {name}, which {terms.expression} does not give"
    rules = [
        *(f"the rules of use at {address}" for address in sorted(terms.use_policies)),
        *(f"a name that begins with {word!r}" for word in sorted(terms.begins)),
        *([f"the cap of {terms.user_cap} users"] if terms.user_cap is not None else []),
        *(f"the exclusion of {region}" for region in sorted(terms.excluded | terms.excluded_multimodal)),
    ]
    if rules:
        yield f"{names} allows no further restriction, and there is {'; '.join(rules)}"


def _naming(terms: Terms, use: Use) -> Iterator[str]:
    """One name must satisfy every licence: of two beginnings one must begin with the other."""
    for one, other in combinations(sorted(terms.begins), 2):
        if not other.startswith(one):
            yield f"no name begins with both {one!r} and {other!r}"
    if terms.begins and use.name is None:
        words = ", ".join(repr(word) for word in sorted(terms.begins))
        yield f"the name must begin with {words}, and the request states no release name"
    elif use.name is not None and (wrong := misnamed(use.name, terms.begins)):
        yield f"the name {use.name!r} does not begin with {', '.join(map(repr, wrong))}"
