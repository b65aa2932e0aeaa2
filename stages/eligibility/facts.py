"""What the rules may know: manifests, cards, configurations, tokenizers, headers. No tensor is read."""

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records import bundle
from stages.core.records import card as cards
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.records.card import Card
from stages.core.records.files import sha256_bytes
from stages.core.records.manifest import FileRecord, Manifest
from stages.core.records.policy import ParentSignatures
from stages.core.records.verdict import Finding
from stages.core.weights import header
from stages.eligibility.licences import Terms

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
UNSIGNED = ParentSignatures(check="never", trusted={})


@dataclass(frozen=True)
class Tensor:
    """dtype and shape of one tensor."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """For messages, e.g. `float32 [5, 4]`."""
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Parent:
    """One acquired parent (or the base). altered: files that are not what the manifest says.

    signature: the bytes of the bundle that lies beside it, unchecked; None where there is none.
    """

    id: str
    manifest: Manifest
    card: Card
    config: Mapping[str, Json]
    tokenizer: Mapping[str, Json]
    tokenizer_config: Mapping[str, Json]
    tensors: Mapping[str, Tensor]
    altered: tuple[str, ...] = ()
    signature: bytes | None = None


@dataclass(frozen=True)
class Facts:
    """Everything a rule may look at.

    methods: name → whether it needs a base. niches: parent → the skills by which the suite measures its
    niche. niche_floor: least accuracy of a parent on its own niche, 0 to 1. as_of: the day on which
    consents are judged; None where the request states none. signatures: what the policy asks of parents.
    """

    base: Parent | None
    parents: tuple[Parent, ...]
    methods: Mapping[str, bool]
    intent: str
    complementarity: str
    suite: tuple[str, int]
    niches: Mapping[str, Sequence[str]]
    niche_floor: float
    licences: Mapping[str, Terms]
    as_of: datetime.date | None = None
    signatures: ParentSignatures = UNSIGNED

    @property
    def family(self) -> tuple[Parent, ...]:
        """The base, where there is one, then the parents in their order."""
        return (self.base, *self.parents) if self.base else self.parents

    @property
    def reference(self) -> Parent:
        """The model that the others are compared with: the base, else the first parent."""
        return self.family[0]


def read(folder: Path) -> Parent:
    """The facts on `folder`, which is data/parents/<id>: each file is read once, hashed and parsed.

    Raises LabError naming a file that is missing or malformed.
    """
    manifest = manifests.load(folder)
    card = cards.load(folder / cards.NAME)
    try:
        contents = {name: (folder / name).read_bytes() for name in manifest.files if name != WEIGHTS}
        size, tensors = _header(folder / WEIGHTS)
        signed = folder / bundle.NAME
        signature = signed.read_bytes() if signed.is_file() else None
    except OSError as problem:
        raise LabError(f"cannot read {folder}: {problem}. Run `dvc repro parents`.") from problem
    found = {name: FileRecord(sha256_bytes(content), len(content)) for name, content in contents.items()}
    altered = [name for name, record in found.items() if record != manifest.files[name]]
    # Weights by their size alone: whoever loads them hashes them, and no rule depends on their values.
    altered += [WEIGHTS] if size != manifest.files[WEIGHTS].bytes else []
    return Parent(
        id=folder.name,
        manifest=manifest,
        card=card,
        config=_object(folder / CONFIG, contents.get(CONFIG)),
        tokenizer=_object(folder / TOKENIZER, contents.get(TOKENIZER)),
        tokenizer_config=_object(folder / TOKENIZER_CONFIG, contents.get(TOKENIZER_CONFIG, b"{}")),
        tensors=tensors,
        altered=tuple(altered),
        signature=signature,
    )


def finding(rule: str, problems: Sequence[str], *, fine: str, move: str, evidence: Json = None) -> Finding:
    """Passed with `fine` if there is no problem, else refused with all problems and the next `move`."""
    if not problems:
        return Finding(rule, True, fine, evidence)
    return Finding(rule, False, f"{'; '.join(problems)}. {move}", evidence)


def shown(items: Sequence[str], most: int = 5) -> str:
    """The first few of `items` and how many more there are, for a message."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")


def _object(path: Path, content: bytes | None) -> Mapping[str, Json]:
    try:
        tree = json.loads((content or b"").decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise LabError(f"{path} is missing or no JSON: {problem}. Run `dvc repro parents`.") from problem
    if not isinstance(tree, dict):
        raise LabError(f"{path} is no JSON object. Run `dvc repro parents`.")
    return tree


def _header(path: Path) -> tuple[int, dict[str, Tensor]]:
    """Size of the file, and its tensors in the order of their names."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        first = stream.read(8)
        head = first + stream.read(header.length(first, str(path), size) - 8)
    entries = header.parse(head, str(path), size)
    return size, {name: Tensor(entry.dtype, entry.shape) for name, entry in sorted(entries.items())}
