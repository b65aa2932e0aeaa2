"""What serving each subject takes: counted from headers and configurations, the same on every machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod

from stages.core.records.canonical import Json, dumps, read_json
from stages.core.records.costs import Costs
from stages.core.records.evidence import DIGITS, Subject
from stages.core.records.files import sha256_bytes
from stages.core.weights.reader import Checkpoint
from stages.eval.baselines import Artifact
from stages.eval.store import EvidenceStore

RULE = "costs/1"


@dataclass(frozen=True)
class Size:
    """One model. parameters: entries of its tensors; bytes: as stored; flops: of a token's matrix products.

    Every matrix counts as used by every token, which overstates a mixture of experts; of two matrices of the
    vocabulary's shape one is a table that is looked up, and costs nothing.
    """

    parameters: int
    bytes: int
    flops: int


def size_of(artifact: Artifact, store: EvidenceStore) -> Size:
    """From the store, where the weights may be gone; else from the headers. Raises BadCheckpoint."""
    key = sha256_bytes(dumps([RULE, artifact.digest]))
    known = _size(store.tree(key))
    if known is not None:
        return known
    tensors = list(Checkpoint(artifact.folder).tensors.values())
    config = read_json(artifact.folder / "config.json")
    table = (config.get("vocab_size"), config.get("hidden_size"))
    matrices = [tensor.shape for tensor in tensors if len(tensor.shape) > 1]
    looked_up = prod(table) if matrices.count(table) > 1 else 0
    found = Size(
        sum(tensor.elements for tensor in tensors),
        sum(tensor.end - tensor.start for tensor in tensors),
        2 * (sum(map(prod, matrices)) - looked_up),
    )
    store.put_tree(key, asdict(found))
    return found


def costs(subjects: Sequence[tuple[Subject, Sequence[Artifact]]], store: EvidenceStore) -> dict[str, Costs]:
    """Subject id → costs. subjects: each with the models that must be in memory.

    The first parent is the unit. A pass is one of the models on average: they have one architecture, or there
    would be no subjects.
    """
    sizes = {model.digest: size_of(model, store) for _, models in subjects for model in models}
    unit = next(sizes[models[0].digest] for subject, models in subjects if subject.kind == "parent")

    def of(subject: Subject, models: Sequence[Artifact]) -> Costs:
        each = [sizes[model.digest] for model in models]
        flops = round(subject.passes * sum(one.flops for one in each) / len(each))
        stored = sum(one.bytes for one in each)
        return Costs(
            subject.passes,
            len(each),
            sum(one.parameters for one in each),
            stored,
            flops,
            round(flops / unit.flops, DIGITS),
            round(stored / unit.bytes, DIGITS),
        )

    return {subject.id: of(subject, models) for subject, models in subjects}


def _size(tree: Json) -> Size | None:
    names = Size.__dataclass_fields__
    if not isinstance(tree, Mapping) or tree.keys() != names.keys():
        return None
    return Size(**tree) if all(type(value) is int for value in tree.values()) else None
