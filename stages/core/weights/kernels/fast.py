"""The compiled backend: which plans it takes, and how blocks and coefficients are handed to the kernels.

    backend = fast.load(plan, folder)             # None: not compiled, or a plan that only torch executes
    engine.execute(plan, …, backend=backend)

Taken are the methods and versions in `CODED`, with inputs of one type, float32 or bfloat16, and such outputs.
Anything else is executed plainly, with the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from stages.core.errors import LabError, Unmergeable
from stages.core.weights.backend import Block, Bytes, Source, T
from stages.core.weights.header import ITEMSIZE
from stages.core.weights.kernels import compiled, measuring, merging
from stages.core.weights.method import Need, Options, Statistics, number, numbers
from stages.core.weights.numerics import LEAF, drop_count, float32_below, mask_key
from stages.core.weights.plan import Job, Plan
from stages.core.weights.selection import HIGH_BINS, LOW_BINS, Ints, kept_count, kept_magnitudes
from stages.core.weights.sums import pairwise

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
TYPES = {"bfloat16": np.uint16, "float32": np.float32}
SUMS = (("linear", 1), ("slerp", 1), ("task_arithmetic", 1), ("dare_linear", 1))
VOTES = (("ties", 1), ("dare_ties", 1))
CODED = SUMS + VOTES
NO_KEYS, NO_NUMBERS = np.empty(0, np.uint64), np.empty(0, np.float32)
NO_BOUNDS, NO_CUTS = np.empty((0, 2), np.float32), np.empty(0, np.int64)


def load(plan: Plan, folder: Path | None, *, compiling: bool = False) -> "Fast | None":
    """The backend for this plan with its machine code from `folder`; None where torch must do it.

    compiling: compile what the folder lacks, and keep it there; None as the folder keeps nothing.
    """
    if not suits(plan):
        return None
    compiled.use(folder, compiling=compiling)
    backend = Fast(plan)
    try:
        backend.rehearse()
    except compiled.NotCompiled:
        return None
    return backend


def suits(plan: Plan) -> bool:
    """Whether every tensor of the plan can be merged by kernels."""
    merged = [job.name for job in plan.jobs if job.action == "merge"]
    types = {given.tensors[name].dtype for given in plan.inputs for name in merged}
    known = (plan.method.name, plan.method.version) in CODED
    return known and len(types) == 1 and types <= set(TYPES) and plan.recipe.output_dtype in TYPES


class Fast:
    """Kernels for one plan. Stateless beside the plan's constants: any number of threads may use it."""

    name = "numba"

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._delta = plan.method.space == "delta"
        dtypes = {t.dtype for t in plan.inputs[0].tensors.values()}
        self._type = TYPES[next(d for d in TYPES if d in dtypes)]
        self._output = TYPES[plan.recipe.output_dtype]

    def finite(self, row: Bytes, dtype: str) -> bool:
        """Whether no element of a row is a NaN or an infinity."""
        return bool(
            measuring.finite(row.view(TYPES[dtype]).view(np.uint16 if dtype == "bfloat16" else np.uint32))
        )

    def measure(self, need: Need, source: Source) -> Statistics:
        """The statistic of one tensor, by kernels."""
        parents = len(self._plan.recipe.parents)
        if need.statistic == "dots":
            return {"dots": self._sums(source, parents * (parents + 1) // 2, self._dots)}
        if need.statistic == "masked_l1":
            sums = self._sums(source, 2 * parents, self._masked_l1)
            return {"l1": sums[:parents], "masked_l1": sums[parents:]}
        if need.argument is None:
            raise LabError(f"statistic {need.statistic} needs an argument")
        density = number(self._plan.recipe.parameters, need.argument)
        bounds = kept_magnitudes(_Counted(self, source), kept_count(density, source.job.elements), parents)
        return {"threshold": tuple(t for t, _ in bounds), "cut": tuple(float(cut) for _, cut in bounds)}

    def merge(self, source: Source, block: Block, settled: Options, seen: Statistics) -> Bytes:
        """The block of the result. Raises Unmergeable on overflow."""
        raw = self.raw(block)
        out = np.empty(raw.shape[1], self._output)
        keys, least = self._keys(source.job.name)
        if (self._plan.method.name, self._plan.method.version) in SUMS:
            shares = _floats(numbers(settled, "shares"))
            wrong = merging.combine(raw, self._delta, out, block.start, keys, least, shares)
        else:
            wrong = merging.consensus(raw, out, block.start, keys, least, *_votes(settled, seen))
        if wrong:
            raise Unmergeable(
                f"a merged weight is beyond torch.{self._plan.recipe.output_dtype}. "
                "Choose float32, or smaller coefficients"
            )
        found: Bytes = out.view(np.uint8)
        return found

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Kernels start no threads."""
        yield

    def start(self) -> None:
        """Nothing to set in a thread."""

    def rehearse(self) -> None:
        """Run every kernel that the plan needs on four elements. Raises NotCompiled."""
        job = next((job for job in self._plan.jobs if job.action == "merge"), None)
        if job is not None:
            _rehearse(self, self._plan, job)

    def raw(self, block: Block) -> Array:
        """[inputs, n] in the input type."""
        if block.together is None:
            raise LabError("kernels take inputs of one type")
        found: Array = block.together.view(self._type)
        return found

    def _keys(self, tensor: str) -> tuple[Array, np.uint16]:
        """A mask key per parent and the smallest draw that is kept; no keys for a method without masks."""
        recipe, mask = self._plan.recipe, self._plan.method.mask
        if mask is None:
            return NO_KEYS, np.uint16(0)
        keys = [mask_key(recipe.seed, parent, tensor) for parent in recipe.parents]
        return np.array(keys, np.uint64), np.uint16(drop_count(number(recipe.parameters, mask)))

    def _sums(
        self, source: Source, rows: int, kernel: Callable[[Source, Block, Array], None]
    ) -> tuple[float, ...]:
        def leaf_sums(block: Block) -> Array:
            sums = np.empty((rows, -(-self.raw(block).shape[1] // LEAF)), np.float64)
            kernel(source, block, sums)
            return sums

        found = np.concatenate(list(source.each(leaf_sums)), axis=1)
        return tuple(pairwise(row.tolist()) for row in found)

    def _dots(self, source: Source, block: Block, sums: Array) -> None:
        del source
        measuring.dots(self.raw(block), self._delta, sums)

    def _masked_l1(self, source: Source, block: Block, sums: Array) -> None:
        keys, least = self._keys(source.job.name)
        measuring.masked_l1(self.raw(block), block.start, keys, least, sums)


class _Counted:
    """selection.Counting by kernels."""

    def __init__(self, backend: Fast, source: Source) -> None:
        self._raw, self._source = backend.raw, source
        self._parents = range(1, len(source.plan.recipe.parents) + 1)

    def high(self, stride: int) -> list[Ints]:
        """Counts of the upper bits per parent."""

        def count(block: Block) -> list[Ints]:
            raw = self._raw(block)
            base = np.ascontiguousarray(raw[0, ::stride])
            found = [np.zeros(HIGH_BINS, np.int64) for _ in self._parents]
            for p, counts in zip(self._parents, found, strict=True):
                measuring.count_high(base, np.ascontiguousarray(raw[p, ::stride]), counts)
            return found

        return _total(self._source.each(count))

    def inside(self, brackets: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, Ints, Ints]]]:
        """What lies above and inside the brackets."""

        def look(block: Block) -> list[tuple[int, Ints, Ints]]:
            raw, found = self._raw(block), []
            places, patterns = np.empty(raw.shape[1], np.int64), np.empty(raw.shape[1], np.int32)
            for p, (bottom, top) in zip(self._parents, brackets, strict=True):
                limits = np.uint32(bottom), np.uint32(top)
                above, count = measuring.collect(raw[0], raw[p], *limits, places, patterns)
                found.append((above, places[:count] + block.start, patterns[:count].copy()))
            return found

        return self._source.each(look)

    def low(self, place: int, upper: int) -> Ints:
        """Counts of the lower bits under one upper part."""

        def count(block: Block) -> list[Ints]:
            raw, counts = self._raw(block), np.zeros(LOW_BINS, np.int64)
            measuring.count_low(raw[0], raw[place + 1], np.uint32(upper), counts)
            return [counts]

        (found,) = _total(self._source.each(count))
        return found

    def equal(self, place: int, pattern: int) -> Iterator[Ints]:
        """Places of one pattern."""

        def look(block: Block) -> Ints:
            raw = self._raw(block)
            places, patterns = np.empty(raw.shape[1], np.int64), np.empty(raw.shape[1], np.int32)
            limits = np.uint32(pattern), np.uint32(pattern + 1)
            _, count = measuring.collect(raw[0], raw[place + 1], *limits, places, patterns)
            return places[:count] + block.start

        return self._source.each(look)


def _total(counts: Iterator[Sequence[Ints]]) -> list[Ints]:
    found = list(next(counts))
    for more in counts:
        for so_far, added in zip(found, more, strict=True):
            np.add(so_far, added, out=so_far)
    return found


def _floats(values: Sequence[float]) -> Array:
    return np.array(values, np.float32)


def _votes(settled: Options, seen: Statistics) -> tuple[Any, ...]:
    """The last arguments of merging.consensus, from what ties.consensus reads of its options."""
    weights = _floats(numbers(settled, "weights"))
    ones = np.ones_like(weights)
    factors = _floats(numbers(settled, "factors")) if "factors" in settled else NO_NUMBERS
    bounds, cuts = NO_BOUNDS, NO_CUTS
    if "threshold" in seen:
        bounds = np.array([(t, float32_below(t)) for t in seen["threshold"]], np.float32)
        cuts = np.array(seen["cut"], np.int64)
    votes_by = weights if settled["election"] == "sum_weighted" else ones
    counts_by = weights if settled["divisor"] == "surviving_weights" else ones
    signs = settled["election"] == "count"
    return factors, bounds, cuts, votes_by, counts_by, signs, weights, np.float32(number(settled, "scale"))


@dataclass(frozen=True)
class _Rehearsal:
    """A tensor of four zeros: enough to load or compile each kernel."""

    plan: Plan
    job: Job
    block: Block

    def each(self, function: Callable[[Block], T]) -> Iterator[T]:
        yield function(self.block)


def _rehearse(backend: Fast, plan: Plan, job: Job) -> None:
    raw = np.zeros((len(plan.inputs), 4 * ITEMSIZE[plan.inputs[0].tensors[job.name].dtype]), np.uint8)
    source = _Rehearsal(plan, replace(job, shape=(4,)), Block(0, list(raw), raw))
    backend.finite(raw[0], plan.inputs[0].tensors[job.name].dtype)
    seen: dict[str, tuple[float, ...]] = {}
    for need in plan.method.needed(plan.recipe.parameters):
        seen.update(backend.measure(need, source))
        if need.statistic == "kept_magnitude":
            _Counted(backend, source).low(0, 0)
    settled, _ = plan.method.settle(job.coefficients, seen)
    backend.merge(source, source.block, settled, seen)
