"""The compiled backend: how blocks and coefficients are handed to the kernels.

    folder = ready.ensure(plan)                              # None: a plan that only torch merges
    engine.execute(plan, …, backend=Fast(plan, folder))

A tensor whose inputs are of several types is merged plainly, and so is a statistic that has no kernel; torch
is imported where that happens, and not before.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from stages.core.records.canonical import Json
from stages.core.weights.backend import Block, Bytes, Source, not_finite, overflow
from stages.core.weights.hashing import Pair
from stages.core.weights.header import ITEMSIZE
from stages.core.weights.kernels import ready
from stages.core.weights.kernels.catalogue import kernel
from stages.core.weights.kernels.loading import load
from stages.core.weights.method import Need, Options, Statistics, number, numbers, per_parent
from stages.core.weights.numerics import LEAF, drop_count, float32_below, mask_key
from stages.core.weights.plan import Plan
from stages.core.weights.registry import LINES
from stages.core.weights.selection import HIGH_BINS, LOW_BINS, Bracket, Ints, Seen, kept_magnitudes, total
from stages.core.weights.statistics import keeps
from stages.core.weights.sums import pairwise

if TYPE_CHECKING:
    from stages.core.weights.plain import Plain

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
CHUNK, GROUP = 1024, 32  # elements.CHUNK and measuring.GROUP, whose modules need numba
NO_PLACES = np.empty(0, np.int64)


class Fast:
    """Kernels for one plan, from a folder that `ready.ensure` filled. Any number of threads may use it."""

    name = "compiled"

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._delta = plan.method.space == "delta"
        self._coded = {job.name for job in plan.jobs if ready.for_job(plan, job)}
        needed = ready.needed(plan)
        for one in needed:
            load(folder, one)  # before there are threads, which would load it twice
        self.pair = pair_from(folder) if ready.HASHING in needed else None

    def finite(self, row: Bytes, dtype: str) -> bool:
        """Whether no element of a row is a NaN or an infinity."""
        found: int = load(self._folder, kernel("finite", dtype, ""))(
            row.ctypes.data, len(row) // ITEMSIZE[dtype]
        )
        return found == 1

    def refuses(self, source: Source) -> bool:
        """A weighted sum of what is not finite is not finite either; the other kernels look."""
        return self._takes(source) and self._plan.method.kernel is not None

    def measure(self, need: Need, source: Source, seen: Statistics) -> Statistics:
        """The statistic of one tensor, by kernels where there are any."""
        if not self._takes(source) or need.statistic not in ready.MEASURING or need.of is not None:
            return self._plain.measure(need, source, seen)
        parents = len(source.parents)
        if need.statistic == "dots":
            return {"dots": self._sums(source, parents * (parents + 1) // 2, self._dots)}
        if need.statistic == "masked_l1":
            sums = self._sums(source, 2 * parents, self._masked_l1)
            return {"l1": sums[:parents], "masked_l1": sums[parents:]}
        wanted = keeps(need, source.job.options, parents, source.job.elements)
        bounds = kept_magnitudes(_Counted(self, source), wanted, source.job.elements)
        return {"threshold": tuple(t for t, _ in bounds), "cut": tuple(float(cut) for _, cut in bounds)}

    def merge(
        self, source: Source, block: Block, settled: Options, seen: Statistics, into: Bytes | None = None
    ) -> tuple[Bytes, Json]:
        """The block of the result, in `into` if it is given. Raises Unmergeable on overflow."""
        if not self._takes(source) or self._plan.method.kernel is None:
            return self._plain.merge(source, block, settled, seen)
        rows, count = _Rows(block), block_elements(source, block)
        out = np.empty(count * ITEMSIZE[source.job.dtype], np.uint8) if into is None else into
        keys, least = self._keys(source)
        factor = source.job.coefficients.get(LINES)
        factor = factor if isinstance(factor, float) else 1.0
        work, words = np.empty((2 + len(rows)) * CHUNK, np.float32), np.empty(CHUNK // 4, np.uint64)
        head = (rows.table.ctypes.data, len(rows), count)
        masks = (out.ctypes.data, block.start, keys.ctypes.data, len(keys), least.ctypes.data)
        tail = (factor, work.ctypes.data, words.ctypes.data)
        run = self._kernel(source, str(self._plan.method.kernel))
        if self._plan.method.kernel == "combine":
            shares = _floats(numbers(settled, "shares"))
            wrong = run(*head, int(self._delta), *masks, shares.ctypes.data, *tail)
        else:
            votes = _Votes(settled, seen, len(source.parents))
            wrong = run(*head, *masks, *votes.arguments(), *tail)
        if wrong:
            self._refuse(source, block)
        return out, None

    def _refuse(self, source: Source, block: Block) -> NoReturn:
        """Raise Unmergeable for a result that is not finite: for the input that was not, or an overflow."""
        rows = zip(source.job.reads, block.rows, source.dtypes, strict=True)
        for (place, _), row, dtype in rows:
            if not self.finite(row, dtype):
                raise not_finite(self._plan.inputs[place].role)
        raise overflow(source.job.dtype)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Kernels start no threads; what is merged plainly keeps torch from it."""
        if self._all_coded:
            yield
            return
        with self._plain.quiet():
            yield

    def start(self) -> None:
        """Nothing to set in a thread, unless torch runs there too."""
        if not self._all_coded:
            self._plain.start()

    @cached_property
    def _plain(self) -> "Plain":
        from stages.core.weights.plain import Plain

        return Plain()

    @cached_property
    def _all_coded(self) -> bool:
        merged = [job.name for job in self._plan.jobs if job.action == "merge" and job.elements]
        return self._plan.method.kernel is not None and all(name in self._coded for name in merged)

    def _takes(self, source: Source) -> bool:
        return source.job.name in self._coded

    def _kernel(self, source: Source, name: str) -> Callable[..., int]:
        return load(self._folder, kernel(name, source.dtypes[0], source.job.dtype))

    def _keys(self, source: Source) -> tuple[Array, Array]:
        """A mask key and the smallest draw that is kept for each parent; empty without masks."""
        mask = self._plan.method.mask
        if mask is None:
            return np.empty(0, np.uint64), np.empty(0, np.uint16)
        keys = [mask_key(self._plan.recipe.seed, *parent) for parent in source.parents]
        drops = per_parent(source.job.options, mask, len(keys))
        return np.array(keys, np.uint64), np.array([drop_count(drop) for drop in drops], np.uint16)

    def _sums(
        self, source: Source, rows: int, measured: Callable[[Source, Block, Array], None]
    ) -> tuple[float, ...]:
        def leaf_sums(block: Block) -> Array:
            sums = np.empty((rows, -(-block_elements(source, block) // LEAF)), np.float64)
            measured(source, block, sums)
            return sums

        found = np.concatenate(list(source.each(leaf_sums)), axis=1)
        return tuple(pairwise(row.tolist()) for row in found)

    def _dots(self, source: Source, block: Block, sums: Array) -> None:
        rows, count = _Rows(block), block_elements(source, block)
        work, scratch = np.empty((1 + len(rows)) * LEAF, np.float32), np.empty(LEAF, np.float64)
        self._kernel(source, "dots")(
            rows.table.ctypes.data, len(rows), count, int(self._delta),
            sums.ctypes.data, work.ctypes.data, scratch.ctypes.data,
        )  # fmt: skip

    def _masked_l1(self, source: Source, block: Block, sums: Array) -> None:
        rows, count = _Rows(block), block_elements(source, block)
        keys, least = self._keys(source)
        work, scratch = np.empty(2 * LEAF, np.float32), np.empty(LEAF, np.float64)
        words = np.empty(LEAF // 4, np.uint64)
        self._kernel(source, "masked_l1")(
            rows.table.ctypes.data, len(rows), count, block.start, keys.ctypes.data, least.ctypes.data,
            sums.ctypes.data, work.ctypes.data, scratch.ctypes.data, words.ctypes.data,
        )  # fmt: skip

    def counters(self, source: Source) -> Sequence[Callable[..., int]]:
        """The kernels that count magnitudes, in the order of ready.COUNTING."""
        return [self._kernel(source, name) for name in ready.COUNTING]


def pair_from(folder: Path) -> Pair:
    """What hashes two files at once, of the kernel in a folder that `ready.ensure` or `hashing` filled."""
    return partial(_pair, load(folder, ready.HASHING))


def _pair(
    run: Callable[..., int], state: Array, data: memoryview, other: Array, more: memoryview, n: int
) -> None:
    """hashing.Pair by the kernel `run`."""
    run(
        state.ctypes.data,
        np.frombuffer(data, np.uint8).ctypes.data,
        other.ctypes.data,
        np.frombuffer(more, np.uint8).ctypes.data,
        n,
    )


class _Counted:
    """selection.Counting by kernels. Magnitudes are those of deltas."""

    def __init__(self, backend: Fast, source: Source) -> None:
        self._source = source
        self._sample, self._tally, self._collect, self._high, self._low = backend.counters(source)
        self._size = ITEMSIZE[source.dtypes[0]]

    def sample(self, stride: int) -> list[Ints]:
        """Patterns of one element in `stride`, per parent."""

        def look(block: Block) -> list[Ints]:
            elements, found = self._elements(block), []
            for place in range(len(block.rows) - 1):
                patterns = np.empty(elements // stride + 2 * GROUP, np.int32)
                taken = self._sample(*_rows(block, place), elements, stride, patterns.ctypes.data)
                found.append(patterns[:taken])
            return found

        return [np.concatenate(blocks) for blocks in zip(*self._source.each(look), strict=True)]

    def look(self, brackets: Sequence[Bracket]) -> Iterator[list[Seen]]:
        """What lies above and inside the brackets."""

        def seen(block: Block) -> list[Seen]:
            return [
                self._tallied(block, place, bracket.values)
                if bracket.values
                else self._collected(block, place, bracket)
                for place, bracket in enumerate(brackets)
            ]

        return self._source.each(seen)

    def high(self) -> list[Ints]:
        """Counts of the upper bits per parent."""

        def count(block: Block) -> list[Ints]:
            work = np.empty(CHUNK, np.float32)
            found = [np.zeros(HIGH_BINS, np.int64) for _ in block.rows[1:]]
            for place, counts in enumerate(found):
                where = (*_rows(block, place), self._elements(block))
                self._high(*where, counts.ctypes.data, work.ctypes.data)
            return found

        return total(self._source.each(count))

    def low(self, place: int, upper: int) -> Ints:
        """Counts of the lower bits under one upper part."""

        def count(block: Block) -> list[Ints]:
            counts, work = np.zeros(LOW_BINS, np.int64), np.empty(CHUNK, np.float32)
            where = (*_rows(block, place), self._elements(block))
            self._low(*where, upper, counts.ctypes.data, work.ctypes.data)
            return [counts]

        (found,) = total(self._source.each(count))
        return found

    def equal(self, place: int, pattern: int, start: int) -> Iterator[Ints]:
        """Places of one pattern, from the block that begins at `start`."""
        bracket = Bracket(pattern, pattern + 1)
        return self._source.each(
            lambda block: (
                self._collected(block, place, bracket).places
                if block.start >= start
                else np.empty(0, np.int64)
            )
        )

    def _tallied(self, block: Block, place: int, values: tuple[int, ...]) -> Seen:
        wanted, counts = np.array(values, np.int32), np.empty(len(values) + 2, np.int64)
        where = (*_rows(block, place), self._elements(block))
        self._tally(*where, wanted.ctypes.data, len(values), counts.ctypes.data)
        above, inside, *each = counts.tolist()
        return Seen(block.start, above, inside, tuple(each), NO_PLACES, NO_PLACES)

    def _collected(self, block: Block, place: int, bracket: Bracket) -> Seen:
        if bracket.top == bracket.bottom:
            return Seen(block.start, 0, 0, (), NO_PLACES, NO_PLACES)
        elements = self._elements(block)
        places, patterns = np.empty(elements, np.int64), np.empty(elements, np.int32)
        counts, work = np.empty(2, np.int64), np.empty(CHUNK, np.float32)
        self._collect(
            *_rows(block, place), elements, bracket.bottom, bracket.top,
            places.ctypes.data, patterns.ctypes.data, counts.ctypes.data, work.ctypes.data,
        )  # fmt: skip
        above, inside = counts.tolist()
        return Seen(block.start, above, inside, (), places[:inside] + block.start, patterns[:inside].copy())

    def _elements(self, block: Block) -> int:
        return len(block.rows[0]) // self._size


class _Votes:
    """The arguments of the consensus kernel that follow from what ties.consensus reads of its options."""

    def __init__(self, settled: Options, seen: Statistics, parents: int) -> None:
        self.weights = _floats(numbers(settled, "weights"))
        ones = np.ones(parents, np.float32)
        self.factors = _floats(numbers(settled, "factors")) if "factors" in settled else ones
        self.bounds, self.cuts = np.empty(0, np.int32), np.empty(0, np.int64)
        if "threshold" in seen:
            bounds = np.array([(t, float32_below(t)) for t in seen["threshold"]], np.float32)
            self.bounds = bounds.view(np.int32)
            self.cuts = np.array(seen["cut"], np.int64)
        self.votes_by = self.weights if settled["election"] == "sum_weighted" else ones
        self.counts_by = self.weights if settled["divisor"] == "surviving_weights" else ones
        self.signs, self.divided = settled["election"] == "count", settled["divisor"] != "none"
        self.scale = number(settled, "scale")

    def arguments(self) -> tuple[Any, ...]:
        """As catalogue.py lists them; valid while this object lives."""
        return (
            self.factors.ctypes.data, self.bounds.ctypes.data, self.cuts.ctypes.data,
            len(self.cuts), self.votes_by.ctypes.data, int(self.signs), self.counts_by.ctypes.data,
            int(self.divided), self.weights.ctypes.data, self.scale,
        )  # fmt: skip


def block_elements(source: Source, block: Block) -> int:
    """How many elements a block holds."""
    return len(block.rows[0]) // ITEMSIZE[source.dtypes[0]]


class _Rows:
    """table: where the rows of a block lie, valid while this object lives."""

    def __init__(self, block: Block) -> None:
        self._rows = [np.ascontiguousarray(row) for row in block.rows]
        self.table = np.array([row.ctypes.data for row in self._rows], np.uint64)

    def __len__(self) -> int:
        return len(self._rows)


def _rows(block: Block, place: int) -> tuple[int, int]:
    """Where the base and the parent at `place` lie in memory."""
    return block.rows[0].ctypes.data, block.rows[place + 1].ctypes.data


def _floats(values: Sequence[float]) -> Array:
    return np.array(values, np.float32)
