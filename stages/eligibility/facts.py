"""What the rules may know: manifests, cards, configurations, tokenizers, headers, and what workers measured.

No tensor is read here: measured.py has that done in a disposable worker.
"""

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from stages.core.errors import LabError
from stages.core.records import bundle
from stages.core.records import card as cards
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.records.card import Card
from stages.core.records.files import sha256_bytes
from stages.core.records.manifest import FileRecord, Manifest
from stages.core.records.policy import EligibilityPolicy, ParentSignatures
from stages.core.records.verdict import Finding
from stages.core.weights.reader import Checkpoint
from stages.eligibility.advisories import Filed
from stages.eligibility.lattice import Terms
from stages.eligibility.use import Use
from stages.eligibility.waivers import Waiver

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
UNSIGNED = ParentSignatures(check="never", trusted={})
Ask: TypeAlias = Callable[[Json], tuple[Json, Json]]
"""A job to its result and the proof of the isolation it was done in. Raises LabError as workers do."""


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
    chat_template: those of the file of that name, which is run by workers alone (templates.py).
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
    chat_template: bytes | None = None


@dataclass(frozen=True)
class Measured:
    """What workers found in the weights.

    survey: as core/weights/basin.py gives it. losses: as core/scoring/interpolation.py does; None where the
    policy asks for no probe. left_to: the rule that refuses because nothing could be measured. problem: why a
    worker gave no answer. isolation: the proofs of the workers.
    """

    survey: Json = None
    losses: Json = None
    left_to: str | None = None
    problem: str | None = None
    isolation: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Rendering:
    """What came of one chat template: conversation → {"text"} or {"raised"}; or a code, and why."""

    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    code: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything a rule may look at.

    methods: name → whether it needs a base. niches: parent → the skills by which the suite measures its
    niche. policy, confidence: as the request has them. measured: None where nobody measured, which refuses.
    advisories: those filed, by sha256. adapters: parents that are adapters on the base. as_of: the day on
    which consents are judged; None where the request states none. tasks: of the suite, name → skill.
    regions, monthly_users, release_name: as Use takes them. licence_choices: expression → the alternative
    taken. hub_identifiers, spellings, licence_texts: of the table, as its functions in licences.py give them.
    signatures: what the policy asks of parents. rendered: of the chat templates, as templates.py keys them.
    """

    base: Parent | None
    parents: tuple[Parent, ...]
    methods: Mapping[str, bool]
    intent: str
    complementarity: str
    suite: tuple[str, int]
    niches: Mapping[str, Sequence[str]]
    policy: EligibilityPolicy
    confidence: float
    licences: Mapping[str, Terms]
    measured: Measured | None = None
    advisories: Sequence[Filed] = ()
    adapters: tuple[str, ...] = ()
    as_of: datetime.date | None = None
    signatures: ParentSignatures = UNSIGNED
    tasks: Mapping[str, str] = field(default_factory=dict)
    regions: frozenset[str] | None = None
    monthly_users: int | None = None
    release_name: str | None = None
    licence_choices: Mapping[str, str] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    hub_identifiers: Mapping[str, str] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)
    licence_texts: Mapping[str, str] = field(default_factory=dict)
    rendered: Mapping[str, Rendering] = field(default_factory=dict)

    @property
    def use(self) -> Use:
        """What the request wants to do with the merge."""
        return Use(self.intent, self.as_of, self.regions, self.monthly_users, self.release_name)

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
        contents = {
            name: (folder / name).read_bytes() for name in manifest.files if name not in manifest.weights
        }
        checkpoint = Checkpoint(folder)
        signed = folder / bundle.NAME
        signature = signed.read_bytes() if signed.is_file() else None
    except OSError as problem:
        raise LabError(f"cannot read {folder}: {problem}. Run `dvc repro parents`.") from problem
    found = {name: FileRecord(sha256_bytes(content), len(content)) for name, content in contents.items()}
    altered = [name for name, record in found.items() if record != manifest.files[name]]
    # Weights by their size alone: whoever loads them hashes them, and no rule depends on their values.
    sizes = {name: about.bytes for name, about in checkpoint.files.items() if name.endswith(".safetensors")}
    altered += [
        name
        for name in sorted(sizes.keys() | manifest.weights.keys())
        if name not in sizes or name not in manifest.weights or sizes[name] != manifest.weights[name].bytes
    ]
    return Parent(
        id=folder.name,
        manifest=manifest,
        card=card,
        config=_object(folder / CONFIG, contents.get(CONFIG)),
        tokenizer=_object(folder / TOKENIZER, contents.get(TOKENIZER)),
        tokenizer_config=_object(folder / TOKENIZER_CONFIG, contents.get(TOKENIZER_CONFIG, b"{}")),
        tensors={name: Tensor(spec.dtype, spec.shape) for name, spec in sorted(checkpoint.tensors.items())},
        altered=tuple(altered),
        signature=signature,
        chat_template=contents.get(CHAT_TEMPLATE),
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


def plain(value: float) -> float:
    """A measured number as evidence: four significant digits."""
    return float(f"{value:.4g}")


def _object(path: Path, content: bytes | None) -> Mapping[str, Json]:
    try:
        tree = json.loads((content or b"").decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise LabError(f"{path} is missing or no JSON: {problem}. Run `dvc repro parents`.") from problem
    if not isinstance(tree, dict):
        raise LabError(f"{path} is no JSON object. Run `dvc repro parents`.")
    return tree
