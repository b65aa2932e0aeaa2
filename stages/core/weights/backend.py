"""What executes a plan's arithmetic: torch, plainly (plain.py), or compiled kernels (kernels/), same bits.

The engine reads, hashes and writes bytes; a backend turns blocks of bytes into statistics and merged bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from stages.core.errors import Unmergeable
from stages.core.records.canonical import Json
from stages.core.weights.hashing import Pair
from stages.core.weights.method import Need, Options, Statistics
from stages.core.weights.plan import Job, Plan

T = TypeVar("T")
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Block:
    """Elements start … of one tensor as they lie in the files: uint8, a row for each input it is read from.

    Rows may be mapped files: nothing may be written there.
    """

    start: int
    rows: Sequence[Bytes]


class Source(Protocol):
    """One tensor under way, whose blocks can be gone through as often as wanted."""

    @property
    def plan(self) -> Plan:
        """The plan it belongs to."""
        ...

    @property
    def job(self) -> Job:
        """What is made of it."""
        ...

    @property
    def dtypes(self) -> Sequence[str]:
        """The type of each row of its blocks."""
        ...

    @property
    def parents(self) -> Sequence[tuple[str, str]]:
        """The parents among its rows, in order: digest, and the name of the tensor there."""
        ...

    @property
    def row(self) -> int:
        """Elements of a row, of which blocks hold whole ones; 1 for a method that does not care."""
        ...

    def each(self, function: Callable[[Block], T]) -> Iterator[T]:
        """function of every block, in order; blocks may be worked on side by side."""
        ...


class Backend(Protocol):
    """One coding of the contract (numerics.py)."""

    name: str

    @property
    def pair(self) -> Pair | None:
        """What hashes two files at a time (hashing.py), if it can."""
        ...

    def finite(self, row: Bytes, dtype: str) -> bool:
        """Whether no element of a row is a NaN or an infinity."""
        ...

    def refuses(self, source: Source) -> bool:
        """Whether `merge` itself refuses every input that is not finite, naming its role."""
        ...

    def measure(self, need: Need, source: Source, seen: Statistics) -> Statistics:
        """The statistic of a tensor of at least one element, as statistics.py names its values.

        seen: the values of the needs before it.
        """
        ...

    def merge(
        self, source: Source, block: Block, settled: Options, seen: Statistics, into: Bytes | None = None
    ) -> tuple[Bytes, Json]:
        """The block of the result in the job's output type, and a note of a tensor given whole, else None.

        into: memory of exactly its size, in which it may be put. Raises Unmergeable on overflow.
        """
        ...

    def quiet(self) -> AbstractContextManager[None]:
        """While this lasts, the calling thread starts no threads of its own below a merge."""
        ...

    def start(self) -> None:
        """Called first in every thread of a merge."""
        ...


def not_finite(role: str) -> Unmergeable:
    """The refusal of an input with a NaN or an infinity."""
    return Unmergeable(f"{role} holds a NaN or an infinity. Repair that checkpoint or leave it out")


def overflow(dtype: str) -> Unmergeable:
    """The refusal of a merged weight that the output type cannot hold."""
    return Unmergeable(f"a merged weight is beyond torch.{dtype}. Choose float32, or smaller coefficients")
