"""Executes a plan: block by block in its order, with the same bytes whatever the threads and blocks.

For each tensor: statistics, if the method needs any; then each block is read, hashed, widened, merged and
rounded.
Memory is bounded by the blocks under way and by what plan.HOLD_BYTES allows between two passes.
"""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from stages.core.errors import LabError, Unmergeable
from stages.core.records.canonical import Json
from stages.core.weights import arithmetic, masks
from stages.core.weights.inputs import Inputs, Manifests
from stages.core.weights.method import Slice, per_parent
from stages.core.weights.numerics import BLOCK, mask_key
from stages.core.weights.plan import Job, Plan
from stages.core.weights.registry import LINES
from stages.core.weights.statistics import gather
from stages.core.weights.threads import Threads
from stages.core.weights.writer import Writer

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
    """Elements start … start+n of one output tensor, in its output type, flat."""

    job: Job
    start: int
    data: Tensor


def execute(
    plan: Plan,
    sources: Mapping[str, Path],
    manifests: Manifests,
    output: Path,
    *,
    threads: int = 1,
    block_elements: int = BLOCK,
    on_progress: Progress | None = None,
) -> Merged:
    """Merge into the files that `writer.preallocate` made in `output`, and return their digests.

    manifests: digest -> file -> sha256 of every file read. on_progress: bytes merged so far, and in all.
    Raises BadCheckpoint if an input is not what its manifest says (the output then has no header: it does
    not load), Unmergeable where the arithmetic has no answer.
    """
    notes: dict[str, Json] = {}
    with Threads(threads, len(plan.inputs), _one_torch_thread) as crew, ExitStack() as stack:
        writer = stack.enter_context(Writer(plan, output, crew.output))
        inputs = stack.enter_context(Inputs(plan, sources, manifests, block_elements, crew))
        total, done = sum(job.end - job.start for job in plan.jobs), 0
        for piece in _pieces(plan, inputs, crew, notes):
            data = piece.data.view(torch.uint8).numpy().data
            writer.write(piece.job.file, data)
            done += len(data)
            if on_progress is not None:
                on_progress(done, total)
        inputs.finish()
        return Merged(writer.finish(), notes)


def merge_into(
    plan: Plan,
    sources: Mapping[str, Path],
    state: Mapping[str, Tensor],
    manifests: Manifests | None = None,
    *,
    threads: int = 1,
    block_elements: int = BLOCK,
) -> Mapping[str, Json]:
    """Write the merged tensors over those in `state`, without a file; returns the notes.

    state: name -> contiguous CPU tensor of the planned shape and dtype. Names that it lacks are passed over
    (tied weights are one tensor under two names). Without manifests the inputs are not hashed: they must have
    been before. Raises LabError if a tensor of `state` does not fit.
    """
    targets = {job.name: _target(job, state[job.name]) for job in plan.jobs if job.name in state}
    notes: dict[str, Json] = {}
    with Threads(threads, len(plan.inputs), _one_torch_thread) as crew, ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        inputs = stack.enter_context(Inputs(plan, sources, manifests, block_elements, crew))
        for piece in _pieces(plan, inputs, crew, notes):
            if piece.job.name in targets:
                targets[piece.job.name][piece.start : piece.start + piece.data.numel()] = piece.data
        inputs.finish()
    return notes


def stream(
    plan: Plan,
    sources: Mapping[str, Path],
    manifests: Manifests | None = None,
    *,
    threads: int = 1,
    block_elements: int = BLOCK,
) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, merged tensor) in output order, one whole tensor in memory at a time.

    Input digests are known to match only when the iterator is exhausted; without manifests, never.
    """
    with Threads(threads, len(plan.inputs), _one_torch_thread) as crew, ExitStack() as stack:
        inputs = stack.enter_context(Inputs(plan, sources, manifests, block_elements, crew))
        pieces = _pieces(plan, inputs, crew, {})
        for job in plan.jobs:
            whole = torch.empty(job.elements, dtype=getattr(torch, job.dtype))
            done = 0
            while done < job.elements:
                piece = next(pieces)
                whole[piece.start : piece.start + piece.data.numel()] = piece.data
                done += piece.data.numel()
            yield job.name, whole.reshape(job.shape)
        inputs.finish()


class _Tensor:
    """One tensor under way: runs functions over its slices, in order, as often as wanted."""

    def __init__(self, plan: Plan, job: Job, inputs: Inputs, crew: Threads) -> None:
        self._plan, self._job, self._inputs, self._crew = plan, job, inputs, crew
        self._again = plan.rereads(job)
        self._held: list[tuple[int, list[Tensor]]] | None = None
        self._row = (job.shape or (1,))[-1] if plan.method.rows else 1
        if plan.needed and not self._again:
            self._held = list(self._raw())

    def each(self, function: Callable[[Slice], T], stride: int = 1) -> Iterator[T]:
        """One pass: function of every slice, without the base; of one element in `stride` (unmasked)."""

        def run(start: int, raw: list[Tensor]) -> T:
            return function(self._widened(start, [block[::stride] for block in raw])[0])

        return self._crew.ordered(partial(run, *block) for block in self._blocks())

    def each_with_base(self, function: Callable[[Slice, Tensor | None], T]) -> Iterator[T]:
        """One pass: function of every slice and of the base there, float32 (None in weight space)."""

        def run(start: int, raw: list[Tensor]) -> T:
            return function(*self._widened(start, raw))

        return self._crew.ordered(partial(run, *block) for block in self._blocks())

    def _blocks(self) -> Iterable[tuple[int, list[Tensor]]]:
        blocks = self._raw() if self._held is None else self._held
        return whole_rows(blocks, self._row) if self._row > 1 else blocks

    def _raw(self) -> Iterator[tuple[int, list[Tensor]]]:
        for start in range(0, self._job.elements, self._inputs.block_elements):
            yield start, [self._read(place, name, start) for place, name in self._job.reads]

    def _read(self, place: int, name: str, start: int) -> Tensor:
        block = self._inputs.read(place, name, start, again=self._again)
        arithmetic.check_finite(block, self._plan.inputs[place].role)
        return block

    def _widened(self, start: int, raw: list[Tensor]) -> tuple[Slice, Tensor | None]:
        plan = self._plan
        wide = [block.to(torch.float32) for block in raw]
        base = wide.pop(0) if plan.method.space == "delta" else None
        tensors = wide if base is None else [parent - base for parent in wide]
        kept, draws = [], []
        keys = [
            mask_key(plan.recipe.seed, plan.inputs[place].digest, name)
            for place, name in plan.reads_of_parents(self._job)
        ]
        if plan.method.mask is not None:
            drops = per_parent(self._job.options, plan.method.mask, len(keys))
            pairs = zip(keys, drops, strict=True)
            kept = [masks.kept(key, start, raw[0].numel(), drop) for key, drop in pairs]
        if plan.method.draws:
            draws = [masks.draws(key, start, raw[0].numel()) for key in keys]
        return Slice(tensors, kept, start, draws, self._row), base


def whole_rows(blocks: Iterable[tuple[int, list[Tensor]]], row: int) -> Iterator[tuple[int, list[Tensor]]]:
    """The same elements, cut where rows of `row` elements end; what is left of a block waits for the next."""
    start, rest = 0, None
    for _, raw in blocks:
        joined = raw if rest is None else [torch.cat(pair) for pair in zip(rest, raw, strict=True)]
        whole = joined[0].numel() // row * row
        if whole:
            yield start, [block[:whole] for block in joined]
        start, rest = start + whole, [block[whole:] for block in joined]


def _pieces(plan: Plan, inputs: Inputs, crew: Threads, notes: dict[str, Json]) -> Iterator[Piece]:
    """Every block of the output, in order; notes are added as tensors are begun."""
    _keep_freed_memory()
    for job in plan.jobs:
        try:
            if job.action == "copy":
                yield from _copied(plan, job, inputs)
            elif job.elements:
                yield from _merged(plan, job, _Tensor(plan, job, inputs, crew), notes)
        except Unmergeable as problem:
            raise Unmergeable(f"cannot merge tensor {job.name!r}: {problem}") from problem


def _merged(plan: Plan, job: Job, tensor: _Tensor, notes: dict[str, Json]) -> Iterator[Piece]:
    method, options = plan.method, job.options
    seen = gather(method, options, tensor.each, len(plan.reads_of_parents(job)), job.elements)
    settled, note = method.settle(job.coefficients, seen)
    if note is not None:
        notes[job.name] = note
    factor = job.coefficients.get(LINES)

    def block(given: Slice, base: Tensor | None) -> Piece:
        merged = method.block(given, settled, seen)
        if isinstance(factor, float):
            merged = merged * factor
        whole = merged if base is None else base + merged
        return Piece(job, given.start, arithmetic.narrow(whole, getattr(torch, job.dtype)))

    return tensor.each_with_base(block)


def _copied(plan: Plan, job: Job, inputs: Inputs) -> Iterator[Piece]:
    """The tensor of the first parent read. Raises Unmergeable if another's differs in any byte."""
    for start in range(0, job.elements, inputs.block_elements):
        first, *others = [
            inputs.read(place, name, start, again=False) for place, name in plan.reads_of_parents(job)
        ]
        if not all(torch.equal(first.view(torch.uint8), other.view(torch.uint8)) for other in others):
            raise Unmergeable(f"its {job.dtype} values differ between the parents, and have no mean")
        yield Piece(job, start, first)


def _one_torch_thread() -> None:
    """Keep torch from starting threads of its own below each of ours."""
    torch.set_num_threads(1)


def _keep_freed_memory() -> None:
    """Ask the C library to reuse freed blocks instead of returning each to the kernel, where it can be asked.

    Blocks of a megabyte come and go a thousand times a second; mapping them anew doubled the time of TIES.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 1 << 28)
        mallopt(M_MMAP_THRESHOLD, 1 << 25)


def _target(job: Job, tensor: Tensor) -> Tensor:
    wanted = (getattr(torch, job.dtype), job.shape)
    if (tensor.dtype, tuple(tensor.shape)) != wanted or not tensor.is_contiguous() or tensor.is_meta:
        expected, got = f"{job.dtype} {list(job.shape)}", f"{tensor.dtype} {list(tensor.shape)}"
        raise LabError(f"cannot merge into {job.name!r}: expected contiguous {expected}, got {got}")
    return tensor.detach().view(-1)
