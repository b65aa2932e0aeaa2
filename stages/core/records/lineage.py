"""The lineage of a candidate: an in-toto Statement v1 with a SLSA provenance v1 predicate.

It is the truth of which the weights are a cache: recipe, parents and environment rebuild the same bytes.
Only deterministic facts are kept here; times and hosts go into run.json beside it.

What `load` and `mergelab verify` hold against it without any signature, and what a signature alone covers:

| part of the statement | held against |
|---|---|
| types, build type, builder, invocation, names of the sections | what this file writes |
| id, invocation id | the recipe, whose digest they are |
| recipe | the bytes: `verify` merges it again |
| subject | the files, and the bytes merged again |
| digests, file digests, order and roles of the materials | the recipe, and each other |
| plan, notes, contract and budget of the arithmetic | what the merge made again states (`verify`) |
| names, licences, cards and signatures of materials; proposal; search; isolation | a signature |
| environment; terms | a signature |

Source: https://in-toto.io/Statement/v1, https://slsa.dev/provenance/v1.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.errors import BadCheckpoint
from stages.core.records import recipe as recipes
from stages.core.records import terms
from stages.core.records.canonical import Json, dumps, read_json
from stages.core.records.files import sha256_bytes
from stages.core.records.manifest import Manifest
from stages.core.records.recipe import Recipe

NAME = "lineage.json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:mergelab:merge:1"
BUILDER = "urn:mergelab:worker:1"
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # of a file: no folder, nothing hidden
UNCHECKED = {"status": "unchecked"}  # of a material, where the policy looks for no signature


@dataclass(frozen=True)
class Material:
    """One input artifact: its configured id, its role ("base" or "parent"), and what was known of it.

    card_sha256: None for a material without a card. Such a one is not reviewed: nobody has stated its
    licence and restrictions, and what is made of it can never become a candidate.
    signature: what eligibility found of its model.sig, or that none was looked for.
    """

    id: str
    role: str
    digest: str
    files: Mapping[str, str]  # name → sha256
    licence: str
    card_sha256: str | None
    signature: Json = field(default_factory=lambda: dict(UNCHECKED))

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
            "annotations": {
                "role": self.role,
                "licence": self.licence,
                "files": dict(self.files),
                "signature": self.signature,
                **known,
            },
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

    Raises BadCheckpoint if it is no statement of ours (`lineage-schema`), if its recipe does not give the id
    it states (`lineage-id`), if its materials are not what the recipe was made of (`lineage-materials`), or
    if it names a file twice (`lineage-subject`).
    """
    statement = read_json(path)
    try:
        if (statement["_type"], statement["predicateType"]) != (STATEMENT, PREDICATE):
            raise BadCheckpoint("lineage-schema", f"{path}: no in-toto v1 statement with SLSA v1 provenance")
        _check_form(statement, path)
        definition = statement["predicate"]["buildDefinition"]
        parameters = definition["externalParameters"]
        recipe = recipes.from_json(parameters["recipe"])
        files = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
        proposal = Proposal(**parameters["proposal"])
        _check_id(statement, recipe, path)
        _check_materials(definition["resolvedDependencies"], recipe, path)
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise BadCheckpoint("lineage-schema", f"{path}: incomplete statement ({problem!r})") from problem
    names = [subject["name"] for subject in statement["subject"]]
    if names != sorted(files) or not names or not all(map(PLAIN_NAME.fullmatch, names)):
        raise BadCheckpoint(
            "lineage-subject", f"{path} was edited: its files are none, no names, or in disorder"
        )
    return Recorded(recipe, proposal, files, statement)


def _check_id(statement: Json, recipe: Recipe, path: Path) -> None:
    """Raise BadCheckpoint unless the id, the invocation and every digit of the recipe agree."""
    parameters = statement["predicate"]["buildDefinition"]["externalParameters"]
    stated = (parameters["id"], statement["predicate"]["runDetails"]["metadata"]["invocationId"])
    if stated != (recipe.id, recipe.digest) or recipe.to_json() != parameters["recipe"]:
        raise BadCheckpoint(
            "lineage-id",
            f"{path} was edited: it states candidate {stated[0]} ({str(stated[1])[:16]}…), its recipe gives "
            f"{recipe.id} ({recipe.digest[:16]}…)",
        )


def _check_form(statement: Json, path: Path) -> None:
    """Raise BadCheckpoint unless the statement has our sections and no other, and our builder."""
    predicate = statement["predicate"]
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    internal = definition["internalParameters"]
    expected: list[tuple[Json, set[str]]] = [
        (statement, {"_type", "subject", "predicateType", "predicate"}),
        (predicate, {"buildDefinition", "runDetails"}),
        (definition, {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}),
        (definition["externalParameters"], {"id", "recipe", "proposal", "search"}),
        (internal, {"arithmetic", "isolation"}),
        (details, {"builder", "metadata", "byproducts"}),
        (details["builder"], {"id"}),
        (details["metadata"], {"invocationId"}),
        *((subject, {"name", "digest"}) for subject in statement["subject"]),
        *((subject["digest"], {"sha256"}) for subject in statement["subject"]),
        *((one, {"name", "annotations"}) for one in details["byproducts"]),
    ]
    names = [one["name"] for one in details["byproducts"]]
    builders = (definition["buildType"], details["builder"]["id"])
    if (
        any(set(tree) != keys for tree, keys in expected)
        or builders != (BUILD_TYPE, BUILDER)
        or names not in (["environment"], ["environment", terms.KEY])
    ):
        raise BadCheckpoint(
            "lineage-schema", f"{path}: it has other sections, or was built by something else"
        )


def _check_materials(materials: Json, recipe: Recipe, path: Path) -> None:
    """Raise BadCheckpoint unless the materials are the recipe's base and parents, each once, in its order."""
    wanted = list(dict.fromkeys([*([recipe.base] if recipe.base else []), *recipe.parents]))
    found = [one["digest"]["sha256"] for one in materials]
    for one in materials:
        digest, annotations = one["digest"], one["annotations"]
        roles = {"base"} if digest["sha256"] == recipe.base else set()
        roles |= {"parent"} if digest["sha256"] in recipe.parents else set()
        if (
            set(one) != {"name", "digest", "annotations"}
            or set(digest) != {"sha256"}
            or annotations["role"] not in roles
            or sha256_bytes(dumps(annotations["files"])) != digest["sha256"]
            or not all(map(PLAIN_NAME.fullmatch, annotations["files"]))
        ):
            found = []
    if found != wanted:
        raise BadCheckpoint(
            "lineage-materials",
            f"{path} was edited: the recipe names {[digest[:12] for digest in wanted]}, and what is said of "
            "the materials (order, roles, digests, files) does not follow from that",
        )
