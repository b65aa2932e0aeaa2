"""The ledger of looks at hidden cases: data/looks.json, append-only, reviewed like everything else in git.

A look is one candidate set put to one source of hidden cases. The same set put to the same source again
teaches nothing new and is the same look, however often the stage runs. Each further set is one more: whoever
chooses the next set after reading the last report learns a little of those cases (Dwork et al. 2015, arXiv
1506.02629, section 1). Cases that are drawn afresh for each set can be looked at often; a private file is
worn out by it. Neither input nor output of the pipeline: it grows with the history of a repository, not with
a request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records.canonical import Json, read_json, write_json

SCHEMA = "mergelab/looks/1"


@dataclass(frozen=True)
class Source:
    """Where hidden cases come from. digest: of the suite that they are drawn by, or the HMAC of a private
    file.

    budget: most looks at it; None: they are counted and not bounded.
    """

    name: str
    digest: str
    budget: int | None


@dataclass(frozen=True)
class Look:
    """Which look at a source a candidate set was: `number` 1 is the first."""

    source: Source
    number: int

    def to_json(self) -> Json:
        """What the index of the evidence says of it."""
        return {"source": self.source.digest, "number": self.number, "budget": self.source.budget}


def look(ledger: Path, sources: Sequence[Source], frozen: str) -> list[Look]:
    """Enter the look of the candidate set `frozen` (its digest) at each source, before any case is put to it.

    Raises LabError, and enters nothing, if a source was looked at as often as its budget allows, or if the
    ledger is none.
    """
    seen = _read(ledger)
    looks, spent = [], []
    for source in sources:
        sets = seen.setdefault(source.digest, [])
        if frozen not in sets:
            sets.append(frozen)
        found = Look(source, sets.index(frozen) + 1)
        looks.append(found)
        if source.budget is not None and found.number > source.budget:
            spent.append(f"{source.name}: {source.budget} of {source.budget} looks are spent")
    if spent:
        raise LabError(
            f"no look is left at hidden cases ({'; '.join(spent)}). "
            "Bring cases that no report has shown yet, or raise policy.looks in a reviewed change."
        )
    if seen != _read(ledger):
        write_json(ledger, {"schema": SCHEMA, "looks": seen})
    return looks


def _read(ledger: Path) -> dict[str, list[str]]:
    """Source digest → digests of the candidate sets that were put to it, in order."""
    if not ledger.is_file():
        return {}
    tree = read_json(ledger)
    sound = isinstance(tree, dict) and tree.get("schema") == SCHEMA and isinstance(tree.get("looks"), dict)
    if not sound or not all(isinstance(sets, list) for sets in tree["looks"].values()):
        raise LabError(f"{ledger}: expected schema {SCHEMA!r}. Restore it: git checkout {ledger}")
    return {source: list(sets) for source, sets in tree["looks"].items()}
