"""Executes a plan: block by block in its order, with the same bytes whatever the threads and blocks.

For each tensor: statistics, if the method needs any; then each block is read, hashed, widened, merged and
rounded.
Memory is bounded by the blocks under way and by what plan.HOLD_BYTES allows between two passes.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from stages.core.errors import LabError, Unmergeable
from stages.core.records.canonical import Json
from stages.core.weights.backend import Backend, Block, Bytes
from stages.core.weights.header import ITEMSIZE
from stages.core.weights.inputs import Inputs, Manifests
from stages.core.weights.numerics import BLOCK
from stages.core.weights.plan import Job, Plan
from stages.core.weights.threads import Threads
from stages.core.weights.writer import Writer

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Progress = Callable[[int, int], None]
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3), glibc


@dataclass(frozen=True)
class Merged:
    """What a merge did. files: output name -> sha256. notes: tensor -> the branch taken there, if any."""

    files: Mapping[str, str]
    notes: Mapping[str, Json]


@dataclass(frozen=True)
class Piece:
    """Elements start … start+n of one output tensor, as bytes of its output type."""

    job: Job
    start: int
    data: Bytes


def execute(
    plan: Plan,
    sources: Mapping[str, Path],
    manifests: Manifests,
    output: Path,
    *,
    threads: int = 1,
    block_elements: int = BLOCK,
    backend: Backend | None = None,
    on_progress: Progress | None = None,
) -> Merged:
    """Merge into the files that `writer.preallocate` made in `output`, and return their digests.

    manifests: digest -> file -> sha256 of every file read. on_progress: bytes merged so far, and in all.
    Raises BadCheckpoint if an input is not what its manifest says (the output then has no header: it does
    not load), Unmergeable where the arithmetic has no answer.
    """
    notes: dict[str, Json] = {}
    with _crew(plan, threads, backend) as (crew, coding), ExitStack() as stack:
        writer = stack.enter_context(Writer(plan, output, crew.output))
        inputs = stack.enter_context(Inputs(plan, sources, manifests, block_elements, crew))
        total, done = sum(job.end - job.start for job in plan.jobs), 0
        for piece in _pieces(plan, inputs, crew, coding, notes):
            writer.write(piece.job.file, piece.data.data)
            done += len(piece.data)
            if on_progress is not None:
                on_progress(done, total)
        inputs.finish()
        return Merged(writer.finish(), notes)


def merge_into(
    plan: Plan,
    sources: Mapping[str, Path],
    state: "Mapping[str, Tensor]",
    manifests: Manifests | None = None,
    *,
    threads: int = 1,
    block_elements: int = BLOCK,
    backend: Backend | None = None,
) -> Mapping[str, Json]:
    """Write the merged tensors over those in `state`, without a file; returns the notes.

    state: name -> contiguous CPU tensor of the planned shape and dtype. Names that it lacks are passed over
    (tied weights are one tensor under two names). Without manifests the inputs are not hashed: they must have
    been before. Raises LabError if a tensor of `state` does not fit.
    """
    targets = {job.name: _target(job, state[job.name]) for job in plan.jobs if job.name in state}
    notes: dict[str, Json] = {}
    with _crew(plan, threads, backend) as (crew, coding), ExitStack() as stack:
        inputs = stack.enter_context(Inputs(plan, sources, manifests, block_elements, crew))
        for piece in _pieces(plan, inputs, crew, coding, notes):
            if piece.job.name in targets:
                first = piece.start * ITEMSIZE[piece.job.dtype]
                targets[piece.job.name][first : first + len(piece.data)] = piece.data
        inputs.finish()
    return notes


def stream(
    plan: Plan,
    sources: Mapping[str, Path],
    manifests: Manifests | None = None,
    *,
    threads: int = 1,
    block_elements: int = BLOCK,
    backend: Backend | None = None,
) -> "Iterator[tuple[str, Tensor]]":
    """Yield (name, merged tensor) in output order, one whole tensor in memory at a time.

    Input digests are known to match only when the iterator is exhausted; without manifests, never.
    """
    import torch

    with _crew(plan, threads, backend) as (crew, coding), ExitStack() as stack:
        inputs = stack.enter_context(Inputs(plan, sources, manifests, block_elements, crew))
        pieces = _pieces(plan, inputs, crew, coding, {})
        for job in plan.jobs:
            whole = torch.empty(job.shape, dtype=getattr(torch, job.dtype))
            memory, done = _target(job, whole), 0
            while done < len(memory):
                data = next(pieces).data
                memory[done : done + len(data)] = data
                done += len(data)
            yield job.name, whole
        inputs.finish()


class _Tensor:
    """One tensor under way: runs functions over its blocks, in order, as often as wanted."""

    def __init__(self, plan: Plan, job: Job, inputs: Inputs, crew: Threads, backend: Backend) -> None:
        self.plan, self.job = plan, job
        self._inputs, self._crew, self._backend = inputs, crew, backend
        self._again = plan.rereads(job)
        self._dtypes = [given.tensors[job.name].dtype for given in plan.inputs]
        self._held: list[Block] | None = None
        if plan.needed and not self._again:
            self._held = list(self._raw())

    def each(self, function: Callable[[Block], T]) -> Iterator[T]:
        """One pass: function of every block."""
        blocks = self._raw() if self._held is None else self._held
        return self._crew.ordered(partial(function, block) for block in blocks)

    def _raw(self) -> Iterator[Block]:
        for start in range(0, self.job.elements, self._inputs.block_elements):
            yield self._read(start)

    def _read(self, start: int) -> Block:
        count = min(self._inputs.block_elements, self.job.elements - start)
        sizes = [count * ITEMSIZE[dtype] for dtype in self._dtypes]
        together = None
        if len(set(self._dtypes)) == 1:
            together = np.empty((len(sizes), sizes[0]), np.uint8)
        rows = [np.empty(size, np.uint8) for size in sizes] if together is None else list(together)
        for place, (row, dtype) in enumerate(zip(rows, self._dtypes, strict=True)):
            self._inputs.read(place, self.job.name, start, into=row, again=self._again)
            if not self._backend.finite(row, dtype):
                role = self.plan.inputs[place].role
                raise Unmergeable(
                    f"{role} holds a NaN or an infinity. Repair that checkpoint or leave it out"
                )
        return Block(start, rows, together)


def _pieces(
    plan: Plan, inputs: Inputs, crew: Threads, backend: Backend, notes: dict[str, Json]
) -> Iterator[Piece]:
    """Every block of the output, in order; notes are added as tensors are begun."""
    _keep_freed_memory()
    for job in plan.jobs:
        try:
            if job.action == "copy":
                yield from _copied(plan, job, inputs)
            elif job.elements:
                yield from _merged(_Tensor(plan, job, inputs, crew, backend), backend, notes)
        except Unmergeable as problem:
            raise Unmergeable(f"cannot merge tensor {job.name!r}: {problem}") from problem


def _merged(tensor: _Tensor, backend: Backend, notes: dict[str, Json]) -> Iterator[Piece]:
    plan, job = tensor.plan, tensor.job
    seen: dict[str, tuple[float, ...]] = {}
    for need in plan.method.needed(plan.recipe.parameters):
        seen.update(backend.measure(need, tensor))
    settled, note = plan.method.settle(job.coefficients, seen)
    if note is not None:
        notes[job.name] = note
    return tensor.each(lambda block: Piece(job, block.start, backend.merge(tensor, block, settled, seen)))


def _copied(plan: Plan, job: Job, inputs: Inputs) -> Iterator[Piece]:
    """The tensor of the first parent. Raises Unmergeable if another parent's differs in any byte."""
    places = range(len(plan.inputs) - len(plan.recipe.parents), len(plan.inputs))
    for start in range(0, job.elements, inputs.block_elements):
        first, *others = [inputs.read(place, job.name, start, again=False) for place in places]
        if not all(np.array_equal(first, other) for other in others):
            raise Unmergeable(f"its {job.dtype} values differ between the parents, and have no mean")
        yield Piece(job, start, first)


def _keep_freed_memory() -> None:
    """Ask the C library to reuse freed blocks instead of returning each to the kernel, where it can be asked.

    Blocks of a megabyte come and go a thousand times a second; mapping them anew doubled the time of TIES.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 1 << 28)
        mallopt(M_MMAP_THRESHOLD, 1 << 25)


def _target(job: Job, tensor: "Tensor") -> Bytes:
    """The memory of a live tensor."""
    import torch

    wanted = (getattr(torch, job.dtype), job.shape)
    if (tensor.dtype, tuple(tensor.shape)) != wanted or not tensor.is_contiguous() or tensor.is_meta:
        expected, got = f"{job.dtype} {list(job.shape)}", f"{tensor.dtype} {list(tensor.shape)}"
        raise LabError(f"cannot merge into {job.name!r}: expected contiguous {expected}, got {got}")
    found: Bytes = tensor.detach().view(-1).view(torch.uint8).numpy()
    return found


@contextmanager
def _crew(plan: Plan, threads: int, backend: Backend | None) -> Iterator[tuple[Threads, Backend]]:
    """The threads of one merge and what they run: torch unless another backend is given."""
    if backend is None:
        from stages.core.weights.plain import Plain

        backend = Plain()
    with backend.quiet(), Threads(threads, len(plan.inputs), backend.start) as crew:
        yield crew, backend
