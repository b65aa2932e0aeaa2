"""The lineage of a candidate: an in-toto Statement v1 with a SLSA provenance v1 predicate.

It is the truth of which the weights are a cache: recipe, parents and environment rebuild the same bytes.
Only deterministic facts are kept here; times and hosts go into run.json beside it.
Source: https://in-toto.io/Statement/v1, https://slsa.dev/provenance/v1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import BadCheckpoint
from stages.core.records import recipe as recipes
from stages.core.records import terms
from stages.core.records.canonical import Json, read_json
from stages.core.records.manifest import Manifest
from stages.core.records.recipe import Recipe

NAME = "lineage.json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mergelab:merge:1"
BUILDER = "urn:mergelab:worker:1"


@dataclass(frozen=True)
class Material:
    """One input artifact: its configured id, its role ("base" or "parent"), and what was known of it.

    card_sha256: None for a material without a card. Such a one is not reviewed: nobody has stated its
    licence and restrictions, and what is made of it can never become a candidate.
    """

    id: str
    role: str
    digest: str
    files: Mapping[str, str]  # name → sha256
    licence: str
    card_sha256: str | None

    @property
    def reviewed(self) -> bool:
        """Whether a card vouches for it."""
        return self.card_sha256 is not None

    def to_json(self) -> Json:
        """A SLSA resource descriptor; roles and licences are annotations. `reviewed` is stated if false."""
        known: Json = {"card_sha256": self.card_sha256} if self.reviewed else {"reviewed": False}
        return {
            "name": self.id,
            "digest": {"sha256": self.digest},
            "annotations": {"role": self.role, "licence": self.licence, "files": dict(self.files), **known},
        }


@dataclass(frozen=True)
class Proposal:
    """How the search came to a recipe: origin ("anchor", "sobol"), its number there, a label for people."""

    origin: str
    index: int
    label: str


@dataclass(frozen=True)
class Lineage:
    """Everything a rebuild needs, and everything a reviewer asks for first."""

    recipe: Recipe
    artifact: Manifest
    materials: Sequence[Material]
    proposal: Proposal
    arithmetic: Json  # what the engine resolved and decided, per tensor where it differs
    isolation: Json  # level, digest of the worker's own proof
    environment: Json  # constraints digest, python, torch
    search: Json  # procedure and the digest of its space
    terms: Json = None  # what may be done with it (records/terms.py); None where no rule has judged

    def to_json(self) -> Json:
        """The statement; subjects are the files of the artifact in sorted order."""
        return {
            "_type": STATEMENT,
            "subject": [
                {"name": name, "digest": {"sha256": record.sha256}}
                for name, record in sorted(self.artifact.files.items())
            ],
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {
                        "id": self.recipe.id,
                        "recipe": self.recipe.to_json(),
                        "proposal": vars(self.proposal),
                        "search": self.search,
                    },
                    "internalParameters": {"arithmetic": self.arithmetic, "isolation": self.isolation},
                    "resolvedDependencies": [material.to_json() for material in self.materials],
                },
                "runDetails": {
                    "builder": {"id": BUILDER},
                    "metadata": {"invocationId": self.recipe.digest},
                    "byproducts": [{"name": "environment", "annotations": self.environment}, *self._terms()],
                },
            },
        }

    def _terms(self) -> list[Json]:
        """Beside the recipe, so that no change of a licence table makes another candidate."""
        return [] if self.terms is None else [{"name": terms.KEY, "annotations": self.terms}]


@dataclass(frozen=True)
class Recorded:
    """What `load` gives back of a lineage: the parts that a rebuild and a check need."""

    recipe: Recipe
    proposal: Proposal
    files: Mapping[str, str]  # name → sha256, the subject
    statement: Json


def made_of(statement: Json) -> dict[str, str]:
    """Tensor of the artifact → the one tensor of a parent that it was made of, where the plan states one.

    Raises BadCheckpoint for a statement without a plan of its tensors.
    """
    try:
        internal = statement["predicate"]["buildDefinition"]["internalParameters"]
        tensors = internal["arithmetic"]["plan"]["tensors"]
        return {name: told["reads"][0][1] for name, told in tensors.items() if "reads" in told}
    except (KeyError, IndexError, TypeError, AttributeError) as problem:
        raise BadCheckpoint(
            "lineage-schema", f"the statement holds no plan of tensors ({problem!r})"
        ) from None


def load(path: Path) -> Recorded:
    """Read a lineage file and check it against itself.

    Raises BadCheckpoint if it is no statement of ours, or if its recipe does not give the id it states.
    """
    statement = read_json(path)
    try:
        if (statement["_type"], statement["predicateType"]) != (STATEMENT, PREDICATE):
            raise BadCheckpoint("lineage-schema", f"{path}: no in-toto v1 statement with SLSA v1 provenance")
        parameters = statement["predicate"]["buildDefinition"]["externalParameters"]
        recipe = recipes.from_json(parameters["recipe"])
        files = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
        proposal = Proposal(**parameters["proposal"])
        stated = parameters["id"]
    except (KeyError, TypeError) as problem:
        raise BadCheckpoint("lineage-schema", f"{path}: incomplete statement ({problem!r})") from problem
    if stated != recipe.id:
        raise BadCheckpoint(
            "lineage-id", f"{path} was edited: it states candidate {stated}, its recipe gives {recipe.id}"
        )
    return Recorded(recipe, proposal, files, statement)
