"""What is known of one parent by regions of its tensors: how far each lies from the base, and its digest.

A tensor of n elements has ceil(n / REGION) regions of REGION elements in flat order, the last one shorter; an
empty tensor has none. The index of a parent is made once (index.py), kept, and used by every byte budget.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from stages.core.errors import LabError
from stages.core.records.canonical import Json, dumps
from stages.core.records.files import sha256_bytes
from stages.core.weights.numerics import NUMERICS, REGION
from stages.core.weights.reader import TensorSpec


@dataclass(frozen=True)
class Regions:
    """One tensor of one parent.

    squares: of each region the float64 tree sum of squares of the float32 delta; 0.0 where the type is none
    that is merged. sha256: of each region's bytes in the parent, hex.
    """

    squares: tuple[float, ...]
    sha256: tuple[str, ...]


Index: TypeAlias = Mapping[str, Regions]
"""Tensor name → Regions, of one parent against one base."""


def count(elements: int) -> int:
    """How many regions so many elements have."""
    return -(-elements // REGION)


def spans(spec: TensorSpec) -> Iterator[tuple[int, int]]:
    """(start, end) in bytes of the file of every region of a tensor."""
    if spec.elements:
        step = REGION * ((spec.end - spec.start) // spec.elements)
        for start in range(spec.start, spec.end, step):
            yield start, min(spec.end, start + step)


def subject(base: str, parent: str) -> str:
    """Of what an index speaks: the contract, the grid, and both digests."""
    return f"index|{NUMERICS}|{REGION}|{base}|{parent}"


def digest(index: Index) -> str:
    """SHA-256 of an index."""
    return sha256_bytes(dumps(to_json(index)))


def to_json(index: Index) -> Json:
    """The tree that `from_json` reads."""
    return {
        name: {"squares": list(found.squares), "sha256": list(found.sha256)} for name, found in index.items()
    }


def from_json(tree: Json) -> dict[str, Regions]:
    """The index that `to_json` wrote. Raises LabError for anything else."""
    try:
        return {
            name: Regions(tuple(float(one) for one in found["squares"]), tuple(map(str, found["sha256"])))
            for name, found in tree.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise LabError(f"this is no index of a parent ({problem!r}). Merge with --fresh") from None


def fits(index: Index, tensors: Mapping[str, TensorSpec]) -> bool:
    """Whether an index has exactly the regions of these tensors."""
    wanted = {name: count(spec.elements) for name, spec in tensors.items()}
    return (
        wanted
        == {name: len(found.squares) for name, found in index.items()}
        == {name: len(found.sha256) for name, found in index.items()}
    )
