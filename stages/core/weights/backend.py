"""What executes a plan's arithmetic: torch, plainly (plain.py), or compiled kernels (kernels/), same bits.

The engine reads, hashes and writes bytes; a backend turns blocks of bytes into statistics and merged bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from stages.core.weights.method import Need, Options, Statistics
from stages.core.weights.plan import Job, Plan

T = TypeVar("T")
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Block:
    """Elements start … of one tensor as they lie in the files: uint8, a row for each input.

    together: the rows as one array [inputs, bytes], where all inputs have one type; else None.
    """

    start: int
    rows: Sequence[Bytes]
    together: Bytes | None


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

    def each(self, function: Callable[[Block], T]) -> Iterator[T]:
        """function of every block, in order; blocks may be worked on side by side."""
        ...


class Backend(Protocol):
    """One coding of the contract (numerics.py)."""

    name: str

    def finite(self, row: Bytes, dtype: str) -> bool:
        """Whether no element of a row is a NaN or an infinity."""
        ...

    def measure(self, need: Need, source: Source) -> Statistics:
        """The statistic of a tensor of at least one element, as statistics.measure names its values."""
        ...

    def merge(self, source: Source, block: Block, settled: Options, seen: Statistics) -> Bytes:
        """The block of the result in the job's output type. Raises Unmergeable on overflow."""
        ...

    def quiet(self) -> AbstractContextManager[None]:
        """While this lasts, the calling thread starts no threads of its own below a merge."""
        ...

    def start(self) -> None:
        """Called first in every thread of a merge."""
        ...
