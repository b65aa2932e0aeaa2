"""The card of a parent: what it is, what it may be used for, and what was measured of it.

A card lies beside the weights as card.json and is no part of their digest: it may be corrected without
making another artifact. Whatever a rule needs and a card leaves open (`null`, an empty string) is unknown,
and unknown refuses.
"""

import datetime
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from stages.core.errors import BadRequest
from stages.core.records import schema
from stages.core.records.canonical import Json, read_json
from stages.core.records.manifest import CARD

SCHEMA = "mergelab/card/1"
NAME = CARD
PII = (
    "none",
    "pseudonymous",
    "personal",
    "sensitive",
)  # in order of care: each class needs more than the last

Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Names = tuple[Annotated[str, Field(min_length=1, max_length=200)], ...]


class Section(schema.Section):
    """A part of a card: "yes" or 1 is no boolean."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Niche(Section):
    """What an expert is for. skill: the name of the task that measures it."""

    skill: Annotated[str, Field(min_length=1, max_length=64)]
    statement: Text


class Licence(Section):
    """SPDX expressions: of the weights, and of each data set they were trained on. Empty means unknown.

    chosen: which alternative was taken of an expression with OR, e.g. {"MIT OR Apache-2.0": "MIT"}.
    """

    weights: str
    data: Names
    chosen: dict[str, str] = Field(default_factory=dict, exclude_if=lambda choices: not choices)


class Restrictions(Section):
    """What the parent's data or makers forbid. `null` is unknown.

    regions, purposes: where (ISO 3166 codes, EU) and what for it may be used; empty means anywhere, anything.
    consent_expires: last day of the shortest consent. withdrawals: ids of people or records that were
    withdrawn and are still in the weights. contaminated: benchmarks (a task, a skill or a whole suite) whose
    items were in the training data: no selection may rest on them. synthetic_from: models that made training
    data; the licence of what they made belongs under licence.data.
    """

    noncommercial: bool | None
    no_release: bool | None
    pii: Literal["none", "pseudonymous", "personal", "sensitive"] | None
    regions: Names | None
    purposes: Names | None
    consent_expires: datetime.date | None
    withdrawals: Names | None
    contaminated: Names | None
    synthetic_from: Names | None


class Training(Section):
    """How the weights were made. Further numbers are free."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, float]
    recipe: Text
    version: int = Field(ge=1)
    seed: int | None = None
    steps: int | None = None
    cpu_seconds: float | None = None


class Evaluation(Section):
    """Accuracy per skill, of exactly the weights with this sha256. items: how many items each skill had.

    weights_sha256: of shards as Manifest.weights_sha256 gives it, which eligibility prints where it differs.
    """

    suite: Identifier
    suite_version: int = Field(ge=1)
    weights_sha256: Digest
    items: dict[str, Annotated[int, Field(ge=1)]]
    scores: dict[str, Share]


class Adapter(Section):
    """The LoRA adapter that an expert was made of, and the base under it: the digest of each manifest."""

    digest: Digest
    base: Digest


class Advisory(Section):
    """A known problem of safety or provenance."""

    id: Text
    severity: Literal["low", "moderate", "high", "critical"]
    summary: Text
    resolved: bool


class Safety(Section):
    """Known problems, resolved ones too."""

    advisories: tuple[Advisory, ...]


class Card(Section):
    """All of card.json. `base`: the id of the model that an expert was tuned from.

    adapter: written when such a parent is acquired; a card that states it beforehand must be right.
    """

    schema_: Literal["mergelab/card/1"] = Field(alias="schema")
    id: Identifier
    title: Text
    family: Identifier
    role: Literal["base", "expert"]
    base: Identifier | None
    niche: Niche | None
    licence: Licence
    restrictions: Restrictions
    training: Training | None = None
    evaluation: Evaluation | None
    safety: Safety
    adapter: Adapter | None = None

    @field_validator("base", "niche")
    @classmethod
    def _belongs_to_role(cls, value: object, info: ValidationInfo) -> object:
        """An expert names both; a base neither."""
        role = info.data.get("role")
        if role == "expert" and value is None:
            raise ValueError(f"an expert needs its {info.field_name}")
        if role == "base" and value is not None:
            raise ValueError(f"a base has no {info.field_name}: write null, or make its role 'expert'")
        return value

    def to_json(self) -> Json:
        """The tree kept in card.json."""
        return self.model_dump(mode="json", by_alias=True, exclude=None if self.adapter else {"adapter"})


def parse(tree: Json, where: str) -> Card:
    """The card of a plain tree. `where` names its file. Raises BadRequest with every problem at once."""
    try:
        return Card.model_validate_json(json.dumps(tree))
    except ValidationError as failure:
        raise BadRequest(
            [f"{where}: {problem}" for problem in schema.explain(failure, Card, "the card")]
        ) from None


def load(path: Path) -> Card:
    """Read a card.json. Raises LabError if it is no JSON, BadRequest with every problem in it."""
    return parse(read_json(path), str(path))


def text(tree: Json) -> str:
    """card.json of a plain tree, as people edit it: keys in the order given."""
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def template(identifier: str) -> Json:
    """A card to fill in: it is complete in form, and refused until its unknowns are answered."""
    return {
        "schema": SCHEMA,
        "id": identifier,
        "title": "what this model is, in a line",
        "family": "name-shared-by-base-and-experts",
        "role": "expert",
        "base": "id-of-the-base",
        "niche": {
            "skill": "name of the task that measures it",
            "statement": "what it does better than the base",
        },
        "licence": {"weights": "", "data": []},
        "restrictions": {
            "noncommercial": None,
            "no_release": None,
            "pii": None,
            "regions": None,
            "purposes": None,
            "consent_expires": None,
            "withdrawals": None,
            "contaminated": None,
            "synthetic_from": None,
        },
        "training": None,
        "evaluation": None,
        "safety": {"advisories": []},
    }
