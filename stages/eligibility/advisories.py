"""Advisories: known problems of certain bytes, filed by the sha256 of a weights file or the digest of a
parent.

conf/advisories/<id>.yaml, one each, reviewed like code. A name can be given to other bytes and bytes to
another name; a digest can not. What a card says of its own parent counts as well.
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, model_validator

from stages.core.errors import BadRequest
from stages.core.records import document
from stages.core.records.schema import Section, explain

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
LEAVES_THE_LAB: Final = ("publish-noncommercial", "publish", "serve")
REFUSES: Final[Mapping[str, Sequence[str]]] = {  # severity → the intents that an open one refuses
    "critical": ("research", *LEAVES_THE_LAB),
    "high": LEAVES_THE_LAB,
    "moderate": (),
    "low": (),
}


class Filed(Section):
    """One advisory. affects: digests of weights files or of parents. source: who says so, and where.

    resolution: what closed it, once `resolved`.
    """

    id: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Za-z0-9-]{2,62}$")]
    severity: Literal["low", "moderate", "high", "critical"]
    summary: Text
    source: Text
    filed: datetime.date
    affects: tuple[Digest, ...] = Field(min_length=1)
    resolved: bool = Field(strict=True)
    resolution: Text | None = None

    @model_validator(mode="after")
    def _says_how_it_was_resolved(self) -> "Filed":
        if self.resolved is not (self.resolution is not None):
            raise ValueError("resolution: say what closed it if resolved is true, and only then")
        return self


def load(folder: Path) -> tuple[Filed, ...]:
    """Every advisory under `folder`, in the order of their files' names; none if there is no folder.

    Raises BadRequest with every problem of every file.
    """
    filed: list[Filed] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            one = Filed.model_validate(document.read(path))
        except BadRequest as refused:
            problems += refused.problems
        except ValidationError as failure:
            problems += [f"{path}: {problem}" for problem in explain(failure, Filed, "the advisory")]
        else:
            filed.append(one)
            if one.id != path.stem:
                problems.append(f"{path}: id: expected {path.stem!r}, the file's name, got {one.id!r}")
    if problems:
        raise BadRequest(problems)
    return tuple(filed)


def touching(filed: Sequence[Filed], digests: Mapping[str, str]) -> Iterator[tuple[Filed, str]]:
    """Each advisory that affects one of `digests` (what → sha256), and what it is that it affects."""
    for advisory in filed:
        hit = [what for what, digest in digests.items() if digest in advisory.affects]
        if hit:
            yield advisory, ", ".join(hit)
