"""SPDX expressions: what they offer, and which of it was chosen.

`OR` is a choice that a person makes and records, in the request or in the card; it is never made for them.
"""

import itertools
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from license_expression import ExpressionError, get_spdx_licensing

from stages.core.records.schema import nearest
from stages.eligibility.lattice import Terms, combine_all

MOST_ALTERNATIVES: Final = 256  # combinations of OR branches of one expression
MOST_CHARACTERS: Final = 1000  # of one SPDX expression
JOIN: Final = " AND "


def choices(expression: str) -> tuple[list[str], list[str]]:
    """The alternatives of an SPDX expression in the order written, each `A AND B`, and what is wrong with it.

    Identifiers are sorted and spelled as SPDX does. One alternative where there is no OR.
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
    return list(dict.fromkeys(JOIN.join(sorted(set(names))) for names in sets)), []


def take(
    expression: str,
    table: Mapping[str, Terms],
    recorded: Mapping[str, str],
    spellings: Mapping[str, str] | None = None,
) -> tuple[Terms | None, list[str]]:
    """The terms of the one alternative that was chosen, or None and what is wrong.

    recorded: expression → the alternative chosen, as written in request or card. spellings: other spellings →
    identifier, to name the row that is meant. An identifier that the table lacks permits nothing.
    """
    offered, problems = choices(expression)
    if problems:
        return None, problems
    named = list(dict.fromkeys(itertools.chain.from_iterable(one.split(JOIN) for one in offered)))
    if unknown := sorted(name for name in named if name not in table):
        return None, [_unknown(unknown, table, spellings or {})]
    if len(offered) == 1:
        return _terms(offered[0], table), []
    return _chosen(expression, offered, table, recorded)


def _chosen(
    expression: str, offered: list[str], table: Mapping[str, Terms], recorded: Mapping[str, str]
) -> tuple[Terms | None, list[str]]:
    listed = "; ".join(offered)
    if expression not in recorded:
        return None, [f"{expression!r} offers a choice, and none is recorded (one of: {listed})"]
    picked, problems = choices(recorded[expression])
    if problems or len(picked) != 1 or picked[0] not in offered:
        return None, [f"{recorded[expression]!r} was chosen of {expression!r}, expected one of: {listed}"]
    return _terms(picked[0], table), []


def _terms(alternative: str, table: Mapping[str, Terms]) -> Terms:
    return combine_all(table[name] for name in alternative.split(JOIN))


def _unknown(names: Iterable[str], table: Mapping[str, Terms], spellings: Mapping[str, str]) -> str:
    """The identifiers without a row, each with the one that may be meant."""
    told = []
    for name in names:
        known = spellings.get(name)
        meant = f"; did you mean {known!r}?" if known else nearest(name, table)
        told.append(f"{name}: not in conf/licences{meant}")
    return "; ".join(told)


@cache
def _spdx() -> Any:
    """The parser with its list of identifiers, which takes 30 ms to build."""
    return get_spdx_licensing()


def _branches(tree: Any) -> list[tuple[str, ...]]:
    """Disjunctive normal form of a parsed expression: sets of identifiers, of which one may be chosen.

    `A WITH B` is one identifier.
    """
    operator = getattr(tree, "operator", None)
    if operator is None:
        return [(str(tree),)]
    parts = [_branches(part) for part in tree.args]
    if operator.strip() == "OR":
        return list(itertools.islice(itertools.chain.from_iterable(parts), MOST_ALTERNATIVES + 1))
    products = itertools.islice(itertools.product(*parts), MOST_ALTERNATIVES + 1)
    return [tuple(itertools.chain(*product)) for product in products]
