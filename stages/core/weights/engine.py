"""Executes a plan: block by block in its order, with the same bytes whatever the threads and blocks.

For each tensor: statistics, if the method needs any; then each block is read, hashed, widened, merged and
rounded.
Memory is bounded by the blocks under way and by what the plan's memory_bytes allows between two passes; only
where a method wants a tensor whole does it depend on the tensor's size, within another bound of plan.plan.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.core.errors import LabError, Unmergeable
from stages.core.records.canonical import Json
from stages.core.weights.backend import Backend, Block, Bytes, T, not_finite
from stages.core.weights.budget import Choice
from stages.core.weights.header import ITEMSIZE
from stages.core.weights.inputs import Inputs, Manifests
from stages.core.weights.plan import Job, Plan
from stages.core.weights.statistics import Known
from stages.core.weights.threads import Threads
from stages.core.weights.writer import Writer

if TYPE_CHECKING:
    from torch import Tensor

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
    block_elements: int | None = None,
    backend: Backend | None = None,
    known: Known | None = None,
    stamps: Manifests | None = None,
    choice: Choice | None = None,
    on_progress: Progress | None = None,
) -> Merged:
    """Merge into the files that `writer.preallocate` made in `output`, and return their digests.

    manifests: digest -> file -> sha256 of every file read. block_elements: as the plan's memory allows if
    not given. backend: torch without one. known: statistics of
    earlier merges; what this one had to measure is added to it. stamps: digest -> file -> stamp of files that
    are known to have their digest (records/seen.py). choice: what a recipe with read_bytes reads
    (budget.choose). on_progress: bytes merged so far, and in all.
    Raises BadCheckpoint if an input is not what its manifest says (the output then has no header: it does
    not load), Unmergeable where the arithmetic has no answer.
    """
    how = _How(threads, block_elements, backend, known, stamps, choice)
    with (
        _run(plan, sources, manifests, how) as run,
        Writer(plan, output, run.crew.hashing, run.crew.writes) as writer,
    ):
        total, done = sum(job.end - job.start for job in plan.jobs), 0
        for piece in run.pieces():
            writer.write(piece.job.file, piece.data.data)
            done += len(piece.data)
            if on_progress is not None:
                on_progress(done, total)
        run.inputs.finish()
        return Merged(writer.finish(), run.notes)


def merge_into(
    plan: Plan,
    sources: Mapping[str, Path],
    state: "Mapping[str, Tensor]",
    manifests: Manifests | None = None,
    *,
    threads: int = 1,
    block_elements: int | None = None,
    backend: Backend | None = None,
    known: Known | None = None,
    choice: Choice | None = None,
) -> Mapping[str, Json]:
    """Write the merged tensors over those in `state`, without a file; returns the notes.

    state: name -> contiguous CPU tensor of the planned shape and dtype. Names that it lacks are passed over
    (tied weights are one tensor under two names). Without manifests the inputs are not hashed: they must have
    been before. The rest: as for `execute`. Raises LabError if a tensor of `state` does not fit.
    """
    targets = {job.name: _target(job, state[job.name]) for job in plan.jobs if job.name in state}
    with _run(plan, sources, manifests, _How(threads, block_elements, backend, known, None, choice)) as run:
        for piece in run.pieces(targets):
            if piece.job.name in targets:
                place = _part(targets[piece.job.name], piece.job, piece.start, len(piece.data))
                if place.ctypes.data != piece.data.ctypes.data:  # unless it was put there right away
                    place[:] = piece.data
        run.inputs.finish()
        return run.notes


def stream(
    plan: Plan,
    sources: Mapping[str, Path],
    manifests: Manifests | None = None,
    *,
    threads: int = 1,
    block_elements: int | None = None,
    backend: Backend | None = None,
    known: Known | None = None,
    choice: Choice | None = None,
) -> "Iterator[tuple[str, Tensor]]":
    """Yield (name, merged tensor) in output order, one whole tensor in memory at a time.

    Input digests are known to match only when the iterator is exhausted; without manifests, never.
    """
    import torch

    with _run(plan, sources, manifests, _How(threads, block_elements, backend, known, None, choice)) as run:
        pieces = run.pieces()
        for job in plan.jobs:
            whole = torch.empty(job.shape, dtype=getattr(torch, job.dtype))
            memory, done = _target(job, whole), 0
            while done < len(memory):
                data = next(pieces).data
                memory[done : done + len(data)] = data
                done += len(data)
            yield job.name, whole
        run.inputs.finish()


@dataclass(frozen=True)
class _How:
    """What decides no byte that recipe and parents do not: as `execute` takes it."""

    threads: int
    block_elements: int | None
    backend: Backend | None
    known: Known | None
    stamps: Manifests | None = None
    choice: Choice | None = None


@dataclass(frozen=True)
class _Run:
    """One merge under way. notes: filled as tensors are begun."""

    plan: Plan
    inputs: Inputs
    crew: Threads
    backend: Backend
    known: Known
    notes: dict[str, Json]

    def pieces(self, targets: Mapping[str, Bytes] | None = None) -> Iterator[Piece]:
        """Every block of the output, in order. targets: memory of tensors, in which blocks may be put."""
        for job in self.plan.jobs:
            try:
                if job.action == "copy":
                    yield from self._copied(job)
                elif job.elements:
                    yield from self._merged(job, (targets or {}).get(job.name))
            except Unmergeable as problem:
                raise Unmergeable(f"cannot merge tensor {job.name!r}: {problem}") from problem

    def _merged(self, job: Job, target: Bytes | None) -> Iterator[Piece]:
        tensor = _Tensor(self, job)
        seen = self.known.gather(tensor, self.backend)
        settled, note = self.plan.method.settle(job.coefficients, seen)
        if note is not None:
            self.notes[job.name] = note

        def piece(block: Block) -> Piece:
            size = len(block.rows[0]) // ITEMSIZE[tensor.dtypes[0]] * ITEMSIZE[job.dtype]
            into = None if target is None else _part(target, job, block.start, size)
            data, note = self.backend.merge(tensor, block, settled, seen, into)
            if note is not None:
                self.notes[job.name] = note
            return Piece(job, block.start, data)

        return tensor.each(piece)

    def _copied(self, job: Job) -> Iterator[Piece]:
        """The tensor of the first parent read. Raises Unmergeable if another's differs in any byte."""
        reads = self.plan.reads_of_parents(job)
        for start in range(0, job.elements, self.inputs.block_elements):
            first, *others = [self.inputs.read(place, name, start, again=False) for place, name in reads]
            if not all(np.array_equal(first, other) for other in others):
                raise Unmergeable(f"its {job.dtype} values differ between the parents, and have no mean")
            yield Piece(job, start, first)


@contextmanager
def _run(plan: Plan, sources: Mapping[str, Path], manifests: Manifests | None, how: _How) -> Iterator[_Run]:
    """The open inputs of one merge, and the threads that work on it."""
    if plan.read_bytes != (how.choice.limit if how.choice else None):
        raise LabError(f"read_bytes is {plan.read_bytes}: hand over what budget.choose made of this plan")
    backend = how.backend
    if backend is None:
        from stages.core.weights.plain import Plain

        backend = Plain()
    _keep_freed_memory()
    with (
        backend.quiet(),
        Threads(how.threads, backend.start, backend.pair) as crew,
        Inputs(
            plan,
            sources,
            manifests,
            block_elements=how.block_elements or plan.block_elements(how.threads),
            crew=crew,
            stamps=how.stamps,
            choice=how.choice,
        ) as inputs,
    ):
        yield _Run(plan, inputs, crew, backend, how.known or Known(), {})


class _Tensor:
    """One tensor under way (backend.Source)."""

    def __init__(self, run: _Run, job: Job) -> None:
        plan = run.plan
        self.plan, self.job = plan, job
        self.dtypes = [plan.inputs[place].tensors[name].dtype for place, name in job.reads]
        self.parents = plan.parents_of(job)
        self.row = (job.shape or (1,))[-1] if plan.method.rows else 1
        self._inputs, self._crew, self._backend = run.inputs, run.crew, run.backend
        measured = plan.needed and not run.known.knows(plan, job)
        self._unchecked = measured or not run.backend.refuses(self)
        self._again = measured and plan.rereads(job)
        held = measured and not self._again and not run.inputs.mapped(job.reads)
        self._held = list(self._read_all()) if held else None

    def each(self, function: Callable[[Block], T]) -> Iterator[T]:
        """One pass: function of every block."""
        blocks: Iterable[Block] = self._read_all() if self._held is None else self._held
        if self.job.whole:
            blocks = whole_tensor(blocks)
        elif self.row > 1:
            blocks = whole_rows(blocks, self.row, [ITEMSIZE[dtype] for dtype in self.dtypes])
        return self._crew.ordered(partial(function, block) for block in blocks)

    def _read_all(self) -> Iterator[Block]:
        for start in range(0, self.job.elements, self._inputs.block_elements):
            yield self._read(start)
        self._unchecked = False  # bytes read once more are the same

    def _read(self, start: int) -> Block:
        rows: list[Bytes] = []
        for (place, name), dtype in zip(self.job.reads, self.dtypes, strict=True):
            instead = rows[0] if rows else None
            rows.append(self._inputs.read(place, name, start, again=self._again, instead=instead))
            if self._unchecked and not self._backend.finite(rows[-1], dtype):
                raise not_finite(self.plan.inputs[place].role)
        return Block(start, rows)


def whole_rows(blocks: Iterable[Block], row: int, itemsizes: Sequence[int]) -> Iterator[Block]:
    """The same elements, cut where rows of `row` elements end; what is left of a block waits for the next."""
    start, rest = 0, [np.empty(0, np.uint8) for _ in itemsizes]
    for block in blocks:
        joined = [np.concatenate(pair) for pair in zip(rest, block.rows, strict=True)]
        whole = len(joined[0]) // itemsizes[0] // row * row
        ends = [whole * size for size in itemsizes]
        if whole:
            yield Block(start, [data[:end] for data, end in zip(joined, ends, strict=True)])
        start, rest = start + whole, [data[end:] for data, end in zip(joined, ends, strict=True)]


def whole_tensor(blocks: Iterable[Block]) -> Iterator[Block]:
    """The same elements as one block; joined input by input, so that only one is in memory twice."""
    columns = [list(column) for column in zip(*(block.rows for block in blocks), strict=True)]
    joined = []
    while columns:
        joined.append(np.concatenate(columns.pop(0)))
    yield Block(0, joined)


def _keep_freed_memory() -> None:
    """Ask the C library to reuse freed blocks instead of returning each to the kernel, where it can be asked.

    Blocks of a megabyte come and go a thousand times a second; mapping them anew doubled the time of TIES.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 1 << 28)
        mallopt(M_MMAP_THRESHOLD, 1 << 25)


def _part(memory: Bytes, job: Job, start: int, size: int) -> Bytes:
    """The `size` bytes of a tensor's memory from its element `start` on."""
    first = start * ITEMSIZE[job.dtype]
    return memory[first : first + size]


def _target(job: Job, tensor: "Tensor") -> Bytes:
    """The memory of a live tensor."""
    import torch

    wanted = (getattr(torch, job.dtype), job.shape)
    if (tensor.dtype, tuple(tensor.shape)) != wanted or not tensor.is_contiguous() or tensor.is_meta:
        expected, got = f"{job.dtype} {list(job.shape)}", f"{tensor.dtype} {list(tensor.shape)}"
        raise LabError(f"cannot merge into {job.name!r}: expected contiguous {expected}, got {got}")
    found: Bytes = tensor.detach().view(-1).view(torch.uint8).numpy()
    return found
