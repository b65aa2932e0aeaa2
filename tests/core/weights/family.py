"""Small checkpoints for merge tests, made from counters alone, so that they are the same on every machine.

Values come from splitmix64 in Python integers or numpy uint64: no generator whose stream depends on the
instruction set. Mantissas are full, so that sums are inexact; shapes are odd, so that no vector width fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.core.records import manifest
from stages.core.records.recipe import Recipe
from stages.core.weights import header, plan, registry
from stages.core.weights.numerics import NUMERICS

SHAPES: Mapping[str, tuple[int, ...]] = {
    "embed.weight": (331, 399),  # 132,069 elements: three leaves, the last one short
    "layer.0.weight": (257, 255),  # 65,535: one below a leaf
    "layer.1.weight": (65537,),  # one above a leaf
    "norm.weight": (99,),
    "small.weight": (1001,),
    "smallest.weight": (1003,),
    "scalar": (),
    "empty": (0, 3),
}
SCALES = {"small.weight": 3e-6, "smallest.weight": 1e-39}  # subnormal in float16; in bfloat16 and float32


def counted(seed: int, count: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """float64 [count] in (-1, 1), never 0: the top 53 bits of splitmix64 from state `seed`, centred."""
    word = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return ((word >> np.uint64(11)).astype(np.int64) - (1 << 52) + 0.5) / (1 << 52)


def values(seed: int, shape: tuple[int, ...], scale: float, dtype: torch.dtype) -> Tensor:
    """A tensor of `counted` numbers times `scale`, rounded to float32 and then to dtype."""
    count = int(np.prod(shape))
    return torch.from_numpy((counted(seed, count) * scale).astype(np.float32)).to(dtype).reshape(shape)


def state(
    member: int, dtype: torch.dtype, shapes: Mapping[str, tuple[int, ...]] = SHAPES
) -> dict[str, Tensor]:
    """State dict of the base (member 0), or of a fine-tune of it (member 1, 2 …) that moved by a tenth."""
    found = {}
    for place, (name, shape) in enumerate(shapes.items()):
        scale = SCALES.get(name, 1.0)
        whole = values(place + 1, shape, scale, torch.float32)
        if member:
            whole = whole + values(1000 * member + place, shape, 0.1 * scale, torch.float32)
        found[name] = whole.to(dtype)
    return found


def save(tensors: Mapping[str, Tensor], path: Path, order: Sequence[str] | None = None) -> None:
    """One safetensors file with the tensors in `order`, or as listed."""
    names = list(tensors) if order is None else list(order)
    dtypes = {name: str(tensors[name].dtype).removeprefix("torch.") for name in names}
    head, _ = header.write((name, dtypes[name], tuple(tensors[name].shape)) for name in names)
    with path.open("wb") as stream:
        stream.write(head)
        for name in names:
            if tensors[name].numel():
                stream.write(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())


@dataclass
class Family:
    """Checkpoints by label: sources and manifests as the engine wants them."""

    root: Path
    sources: dict[str, Path]
    manifests: dict[str, dict[str, str]]

    def add(self, label: str, tensors: Mapping[str, Tensor]) -> None:
        """Write one single-file checkpoint. Labels stand in for digests: 64 hex characters."""
        directory = self.root / f"member-{len(self.sources)}"
        directory.mkdir(parents=True)
        save(tensors, directory / "model.safetensors")
        self.adopt(label, directory)

    def adopt(self, label: str, directory: Path) -> None:
        """Take `directory` as the checkpoint of that label, with the digests of its files."""
        self.sources[label] = directory
        records = manifest.describe(directory).files
        self.manifests[label] = {name: record.sha256 for name, record in records.items()}


LABELS = tuple(f"{place:064x}" for place in range(20))


def family(root: Path, dtype: torch.dtype, parents: int = 2) -> Family:
    """A base under LABELS[0] and fine-tunes under the labels after it."""
    made = Family(root, {}, {})
    for member in range(parents + 1):
        made.add(LABELS[member], state(member, dtype))
    return made


def recipe(
    method: str, *, parents: int = 2, dtype: str = "bfloat16", seed: int = 5, **parameters: object
) -> Recipe:
    """A recipe over LABELS, with defaults for parameters that are left out."""
    return Recipe(
        method=method,
        method_version=registry.get(method).version,
        base=LABELS[0],
        parents=LABELS[1 : parents + 1],
        parameters=registry.resolve(method, parameters, parents),
        seed=seed,
        output_dtype=dtype,
        numerics=NUMERICS,
    )


def planned(made: Family, wanted: Recipe, **options: int) -> plan.Plan:
    """The plan of a recipe over a family."""
    return plan.plan(wanted, made.sources, **options)
