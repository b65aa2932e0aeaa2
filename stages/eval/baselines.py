"""Who is evaluated: the base, the parents, their output ensembles, the candidates; all on the same items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, dumps, hex_float
from stages.core.records.evidence import Subject
from stages.core.records.files import sha256_bytes
from stages.core.scoring.identity import PROBABILITY, architecture_of

UNIFORM, WEIGHTED, LOGITS = "ensemble-uniform", "ensemble-weighted", "ensemble-logit"


@dataclass(frozen=True)
class Artifact:
    """A folder with a manifest, and the digest that the request's records know it by.

    Whoever reads its weights, a worker, hashes every byte first (records/manifest.py, `verified`).
    """

    id: str
    folder: Path
    digest: str


@dataclass(frozen=True)
class Entrant:
    """A subject with the models that answer for it, the weight of each in the mixture, and how it mixes."""

    subject: Subject
    members: tuple[Artifact, ...]
    weights: tuple[float, ...] = (1.0,)
    rule: str | None = None


def parent(folder: Path, name: str) -> Artifact:
    """The acquired parent `folder`/`name`, known by its own manifest."""
    return Artifact(name, folder / name, manifests.load(folder / name).digest)


def single(artifact: Artifact, kind: str, label: str) -> Entrant:
    """One model: the base, a parent or a candidate; one forward pass a token."""
    return Entrant(Subject(artifact.id, kind, label, artifact.digest, 1), (artifact,))


def ensemble(
    name: str, label: str, members: Sequence[Artifact], weights: Sequence[float], rule: str = PROBABILITY
) -> Entrant:
    """The mean of `members` by `rule`; those of weight zero are left out and cost no pass."""
    used = [(member, weight) for member, weight in zip(members, weights, strict=True) if weight > 0]
    digest = sha256_bytes(
        dumps(
            {
                "rule": rule,
                "members": [[member.digest, hex_float(weight)] for member, weight in used],
            }
        )
    )
    subject = Subject(name, "ensemble", label, digest, len(used), len(used))
    return Entrant(subject, tuple(member for member, _ in used), tuple(weight for _, weight in used), rule)


def incompatible(family: Sequence[Artifact]) -> str | None:
    """Why the family cannot answer the same items with one tokenizer and architecture; None if it can."""
    first = family[0]
    for other in family[1:]:
        if _tokenizer(other) != _tokenizer(first):
            return f"the tokenizers of {first.id} and {other.id} differ: their likelihoods cannot be compared"
        if architecture_of(other.folder) != architecture_of(first.folder):
            return f"the architectures of {first.id} and {other.id} differ: they cannot share one evaluator"
    return None


def candidate_entrants(folder: Path, index: Json, gates: Json) -> list[Entrant]:
    """The candidates that passed the gate, in index order. Raises LabError if one was not judged."""
    verdicts: Mapping[str, Json] = gates["candidates"]
    unjudged = [entry["id"] for entry in index["candidates"] if entry["id"] not in verdicts]
    if unjudged:
        raise LabError(f"data/gates.json has no verdict on {', '.join(unjudged)}. Run `dvc repro gate`.")
    return [
        single(
            Artifact(entry["id"], folder / entry["id"], entry["artifact"]),
            "candidate",
            entry["proposal"]["label"],
        )
        for entry in index["candidates"]
        if verdicts[entry["id"]]["passed"]
    ]


def _tokenizer(artifact: Artifact) -> str:
    return manifests.load(artifact.folder).files["tokenizer.json"].sha256
