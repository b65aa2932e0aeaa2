"""Families whose tensors have several regions, and their indexes, for tests of byte budgets."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stages.core.weights import index
from stages.core.weights.numerics import REGION
from stages.core.weights.plan import Plan
from stages.core.weights.regions import Index
from tests.core.weights.family import LABELS, Family, values

LONG = 2 * REGION + 77_777  # three regions
SHAPES = {"ids": (3,), "long": (LONG,), "norm": (99,), "wide": (515, 512), "empty": (0, 3)}


def moved(member: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """The base (member 0), or a fine-tune that moved by another length in every region of every tensor."""
    found: dict[str, Tensor] = {"ids": torch.arange(3)}
    for place, (name, shape) in enumerate(SHAPES.items()):
        if name == "ids":
            continue
        whole = values(place + 1, shape, 1.0, torch.float32)
        if member:
            step = values(1000 * member + place, shape, 0.1, torch.float32).reshape(-1)
            number = torch.arange(step.numel()) // REGION
            whole = whole + (step / (1 + (member + place + number) % 4)).reshape(shape)
        found[name] = whole.to(dtype)
    return found


def regional(root: Path, dtype: torch.dtype = torch.float32, parents: int = 2) -> Family:
    """A base under LABELS[0] and fine-tunes under the labels after it."""
    made = Family(root, {}, {})
    for member in range(parents + 1):
        made.add(LABELS[member], moved(member, dtype))
    return made


def side(made: Family, label: str, role: str = "parent 1") -> index.Side:
    """One checkpoint of a family, as an index takes it."""
    return index.Side(role, made.sources[label], made.manifests[label])


def indexes(made: Family, planned: Plan) -> dict[str, Index]:
    """The index of every parent of a plan."""
    base = side(made, LABELS[0], "base")
    return {one.digest: index.build(base, side(made, one.digest, one.role)) for one in planned.inputs[1:]}


def patched(
    made: Family, root: Path, skipped: Mapping[tuple[int, str], tuple[bool, ...]], dtype: torch.dtype
) -> Family:
    """The same family under the same labels, with the base written over every region that was not read."""
    found = Family(root, {}, {})
    base = moved(0, dtype)
    found.add(LABELS[0], base)
    for member in range(1, len(made.sources)):
        tensors = moved(member, dtype)
        for name, tensor in tensors.items():
            flat = tensor.reshape(-1)
            for number, read in enumerate(skipped.get((member, name), ())):
                if not read:
                    part = slice(number * REGION, (number + 1) * REGION)
                    flat[part] = base[name].reshape(-1)[part]
        found.add(LABELS[member], tensors)
    return found


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """L2 over all floating tensors, in float64."""
    parts = [
        (one[name].double() - other[name].double()).square().sum().item()
        for name in one
        if one[name].is_floating_point()
    ]
    return float(np.sqrt(sum(parts)))
