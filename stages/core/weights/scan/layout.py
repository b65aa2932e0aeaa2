"""Which files a kind of artifact consists of: what it must have, what it may have, and how large."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from stages.core.records.manifest import CARD, SIGNATURE, SIGNATURE_BYTES
from stages.core.records.manifest import NAME as MANIFEST
from stages.core.records.problem import Problem, problem
from stages.core.weights.adapter import CONFIG as ADAPTER_CONFIG
from stages.core.weights.adapter import WEIGHTS as ADAPTER_WEIGHTS
from stages.core.weights.reader import INDEX, MAX_INDEX_BYTES, SINGLE

MIB: Final = 1 << 20
SHARD: Final = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
MAX_SHARDS: Final = 1000  # the largest open models have under 200
ABOUT: Final[Mapping[str, int]] = {  # about any artifact, whatever it is
    CARD: MIB,
    MANIFEST: MIB,
    "LICENSE": MIB,
    "NOTICE": MIB,
    SIGNATURE: SIGNATURE_BYTES,
    "README.md": MIB,
}
SETTINGS: Final[Mapping[str, int]] = {
    "generation_config.json": MIB,
    "tokenizer.json": 64 * MIB,  # the largest in common use (256,000 tokens) takes 33 MB
    "chat_template.jinja": 1 << 16,  # rendered by a worker of eligibility, never here
    "tokenizer_config.json": 4 * MIB,  # 256 added tokens with their options take about 60 kB
    "special_tokens_map.json": MIB,
    "added_tokens.json": MIB,
    "vocab.json": 16 * MIB,
    "merges.txt": 16 * MIB,
}


@dataclass(frozen=True)
class Layout:
    """A kind of artifact. weights: the one file of its tensors, which shards may stand for if `sharded`.

    required: what it must have beside them. limits: name → bytes at most of each small file it may have.
    lenient: entries that nobody reads (folders, hidden files, plain files of other names) are left alone.
    """

    weights: str
    required: tuple[str, ...]
    limits: Mapping[str, int]
    sharded: bool = False
    lenient: bool = False

    def lists(self, name: str) -> bool:
        """Whether an artifact of this kind may have a file of that name."""
        return name in self.limits or name == self.weights or (self.sharded and bool(SHARD.fullmatch(name)))

    def holds(self, names: Collection[str]) -> bool:
        """Whether these are the files of such an artifact, going by its weights."""
        return self.weights in names or (self.sharded and any(map(SHARD.fullmatch, names)))

    def incomplete(self, names: Collection[str]) -> Iterator[Problem]:
        """What is missing in a folder of these files, or there in two ways."""
        for name in self.required:
            if name not in names:
                yield problem("file-missing", name, "is missing. Add it.")
        if not self.sharded or not any(name == INDEX or SHARD.fullmatch(name) for name in names):
            if self.weights not in names:
                yield problem("file-missing", self.weights, "is missing. Add it.")
        elif self.weights in names:
            yield problem(
                "ambiguous", self.weights, f"lies beside shards or {INDEX}. Remove one or the other."
            )
        else:
            yield from _shards(names)


def _shards(names: Collection[str]) -> Iterator[Problem]:
    """Whether the index is there with one whole set of shards, going by their names."""
    if INDEX not in names:
        yield problem("index-missing", INDEX, "is missing beside shards. Add it.")
    found = [(match[0], int(match[2])) for name in sorted(names) if (match := SHARD.fullmatch(name))]
    counts = sorted({count for _, count in found})
    if len(counts) > 1 or any(count > MAX_SHARDS for count in counts):
        yield problem(
            "shards", found[0][0], f"is one of {counts} shards: expected one number, at most {MAX_SHARDS}."
        )
        return
    for count in counts:
        for number in range(1, count + 1):
            name = f"model-{number:05d}-of-{count:05d}.safetensors"
            if name not in names:
                yield problem("shard-missing", name, "is missing. Fetch it, or save the checkpoint again.")


MODEL: Final = Layout(
    SINGLE,
    ("config.json", "tokenizer.json"),
    {"config.json": MIB, INDEX: MAX_INDEX_BYTES, **SETTINGS, **ABOUT},
    sharded=True,
)
ADAPTER: Final = Layout(  # a LoRA adapter; a tokenizer beside it must be its base's (parents/adapters.py)
    ADAPTER_WEIGHTS, (ADAPTER_CONFIG,), {ADAPTER_CONFIG: MIB, **SETTINGS, **ABOUT}
)
BY_HAND: Final = Layout(  # a download that nobody has acquired
    SINGLE,
    (),
    {**MODEL.limits, "tokenizer.model": 16 * MIB, "chat_template.jinja": 1 << 16},
    sharded=True,
    lenient=True,
)
