"""The table of licences as people and scripts read it: what `mergelab licences` prints."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from stages.core.errors import BadRequest
from stages.core.records.canonical import Json
from stages.core.records.terms import INTENTS
from stages.eligibility.lattice import NEEDS, Level
from stages.eligibility.licences import Row, load_rows

SIGNS: Final = {Level.yes: "yes", Level.unknown: "?", Level.no: "no"}
TITLE: Final = (
    "conf/licences by intent, as the texts have it; a row that nobody reviewed allows research alone"
)


def load(folder: Path) -> list[Row]:
    """Every row. Raises BadRequest with every problem of every row."""
    return load_rows(folder)


def problems(folder: Path) -> list[str]:
    """Everything that is wrong with the table; [] if nothing is."""
    try:
        load_rows(folder)
    except BadRequest as refused:
        return list(refused.problems)
    return []


def by_intent(row: Row) -> dict[str, Level]:
    """Intent → the least of the permissions that it needs, whether somebody has reviewed the row or not."""
    levels = row.permissions.model_dump()
    return {intent: min(Level[levels[name]] for name in NEEDS[intent]) for intent in INTENTS}


def tree(rows: Sequence[Row]) -> Json:
    """One JSON document: each row as its file has it, with `intents`."""
    return [
        row.model_dump(mode="json")
        | {"intents": {name: level.name for name, level in by_intent(row).items()}}
        for row in rows
    ]


def table(rows: Sequence[Row]) -> Table:
    """The same for people."""
    found = Table("licence", *INTENTS, "asks besides", "reviewed", title=TITLE)
    for row in rows:
        signs = [SIGNS[level] for level in by_intent(row).values()]
        found.add_row(row.spdx, *signs, ", ".join(_asks(row)), row.reviewer or "no")
    return found


def _asks(row: Row) -> Iterator[str]:
    """What no obligation can buy off, in a word each."""
    if row.share_alike:
        yield f"share-alike {row.share_alike}"
    if row.improves_only:
        yield f"improves {row.improves_only} alone"
    if row.user_cap:
        yield f"at most {row.user_cap // 1_000_000} million users"
    if row.naming.begins:
        yield f"name begins with {row.naming.begins}"
    if row.naming.displays:
        yield f"shows {row.naming.displays}"
    if row.use_policy:
        yield "rules of use"
    if row.regions:
        yield f"not in {', '.join(row.regions.excluded)}" + (" if multimodal" if row.regions.only else "")
