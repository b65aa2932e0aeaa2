"""The table that people review: conf/licences/<SPDX identifier>.yaml, each row checked, read as terms.

A row says what one licence permits for a merge of the model or data under it: `use` it, `modify` it (make
the merge), `share` the merge, do so in a `commercial` way, `serve` it to others. What it permits per intent
follows (lattice.NEEDS). A row that no person has read against the text allows the intent research alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from stages.core.errors import BadRequest
from stages.core.records import document, schema
from stages.eligibility.lattice import PERMISSIONS, Level, Terms

Word = Literal["yes", "unknown", "no"]
Line = Annotated[str, Field(min_length=1, max_length=300)]
REGION = r"^([A-Z]{2}|WORLD)$"


class Section(schema.Section):
    """A part of a row."""


class Permissions(Section):
    """yes, unknown or no for each; YAML's bare yes and no, which it reads as booleans, are meant too."""

    use: Word
    modify: Word
    share: Word
    commercial: Word
    serve: Word

    @field_validator("*", mode="before")
    @classmethod
    def _word(cls, value: object) -> object:
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


class Text(Section):
    """The text that the row was made from, by the digest of the copy named: bytes as they lie there."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    copy_of: Line


class Naming(Section):
    """What a shared merge is called and shows: `begins` its name, `displays` its documentation."""

    begins: Line | None = None
    displays: Line | None = None


class Regions(Section):
    """Regions without a grant; `only`: for multimodal models alone."""

    excluded: Annotated[tuple[Annotated[str, Field(pattern=REGION)], ...], Field(min_length=1)]
    only: Literal["multimodal"] | None = None


class Row(Section):
    """One file of conf/licences, named by its SPDX identifier, or `LicenseRef-…` where SPDX has none.

    hub: the Hub's identifier (`license:`); hub_name: where that is `other`, the usual `license_name:`. text:
    None where no copy was at hand. reviewer: who read the row against the text, and when. exceptions: what
    may follow it after WITH, read and found to take nothing away.
    """

    spdx: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$", max_length=100)]
    title: Line
    version: int = Field(ge=1)
    source: Annotated[str, Field(pattern=r"^https://\S+$")] | None
    hub: Line | None
    hub_name: Line | None = None
    text: Text | None
    reviewed: bool
    reviewer: Line | None = None
    permissions: Permissions
    obligations: tuple[Line, ...]
    share_alike: Line | None
    improves_only: Line | None = None
    user_cap: Annotated[int, Field(ge=1)] | None = None
    naming: Naming = Naming()
    use_policy: Line | None = None
    regions: Regions | None = None
    exceptions: tuple[Line, ...] = ()

    @model_validator(mode="after")
    def _is_reviewed_by_somebody(self) -> "Row":
        if self.reviewed and not (self.reviewer and self.text):
            raise ValueError("reviewed: true needs a reviewer (who, when) and the text that was read")
        if not self.reviewed and self.reviewer:
            raise ValueError("a reviewer is named, and reviewed is false: which of the two?")
        return self

    def terms(self) -> Terms:
        """The row as an element of the lattice."""
        levels = self.permissions.model_dump()
        granted = tuple(Level[levels[name]] for name in PERMISSIONS)
        excluded = frozenset(self.regions.excluded if self.regions else ())
        multimodal = bool(self.regions and self.regions.only)
        return Terms(
            identifiers=frozenset({self.spdx}),
            permissions=granted,
            obligations=frozenset(self.obligations),
            share_alike=_set(self.share_alike),
            reviewed=self.reviewed,
            passed_on=granted if self.share_alike else (Level.no,) * len(PERMISSIONS),
            families=_set(self.improves_only),
            user_cap=self.user_cap,
            begins=_set(self.naming.begins),
            displays=_set(self.naming.displays),
            use_policies=_set(self.use_policy),
            excluded=frozenset() if multimodal else excluded,
            excluded_multimodal=excluded if multimodal else frozenset(),
        )


def load_rows(folder: Path) -> list[Row]:
    """Every row of conf/licences/*.yaml, by name. Raises BadRequest with every problem of every row."""
    rows, problems = [], []
    for path in sorted(folder.glob("*.yaml")):
        try:
            row = Row.model_validate(document.read(path))
        except ValidationError as failure:
            problems += [f"{path}: {problem}" for problem in schema.explain(failure, Row, "the row")]
            continue
        except BadRequest as refused:
            problems += refused.problems
            continue
        if row.spdx != path.stem:
            problems.append(f"{path}: spdx: expected {path.stem!r}, the file's name, got {row.spdx!r}")
        rows.append(row)
    problems += [f"{folder}: {problem}" for problem in _twice(rows)]
    if problems or not rows:
        raise BadRequest(problems or [f"{folder} holds no licence: expected <SPDX identifier>.yaml"])
    return rows


def load_table(folder: Path) -> dict[str, Terms]:
    """SPDX identifier → terms, of every row; `X WITH E` too, for the exceptions that the row of X lists.

    An exception only adds a permission: X WITH E is held to the terms of X. Raises BadRequest as `load_rows`.
    """
    return table(load_rows(folder))


def table(rows: list[Row]) -> dict[str, Terms]:
    """The same for rows already read."""
    found = {}
    for row in rows:
        found[row.spdx] = row.terms()
        for exception in row.exceptions:
            name = f"{row.spdx} WITH {exception}"
            found[name] = replace(row.terms(), identifiers=frozenset({name}))
    return found


def texts(rows: list[Row]) -> Mapping[str, str]:
    """sha256 of a licence's text → its identifier, where the row knows one."""
    return {row.text.sha256: row.spdx for row in rows if row.text}


def hub_identifiers(rows: list[Row]) -> Mapping[str, str]:
    """Identifier → what the Hub calls it in `license:`, for the rows that it has a name for."""
    return {row.spdx: row.hub for row in rows if row.hub}


def spellings(rows: list[Row]) -> Mapping[str, str]:
    """How the Hub or a model card there spells a licence → identifier."""
    return {name: row.spdx for row in rows for name in (row.hub, row.hub_name) if name}


def _twice(rows: list[Row]) -> Iterator[str]:
    """One text and one name of the Hub belong to one row."""
    for what, values in (
        ("text.sha256", [row.text.sha256 for row in rows if row.text]),
        ("hub", [name for row in rows for name in (row.hub, row.hub_name) if name]),
    ):
        for value in dict.fromkeys(value for value in values if values.count(value) > 1):
            yield f"{what}: {value} stands in two rows"


def _set(value: str | None) -> frozenset[str]:
    return frozenset() if value is None else frozenset({value})
