"""The plain backend: methods as they are written, on torch tensors. Other backends are checked by it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from stages.core.records.canonical import Json
from stages.core.weights import arithmetic, masks
from stages.core.weights.backend import Block, Bytes, Source, T
from stages.core.weights.counting import Pass, Slices
from stages.core.weights.method import Need, Options, Slice, Statistics, per_parent
from stages.core.weights.numerics import mask_key
from stages.core.weights.registry import LINES
from stages.core.weights.selection import kept_magnitudes
from stages.core.weights.statistics import keeps
from stages.core.weights.sums import fold, pairwise

View: TypeAlias = Callable[[Slice, Options, Statistics], Sequence[Tensor]]


class Plain:
    """torch, one thread for each thread of the merge."""

    name = "torch"
    pair = None

    def finite(self, row: Bytes, dtype: str) -> bool:
        """Whether no element of a row is a NaN or an infinity."""
        return arithmetic.finite(_tensor(row, dtype))

    def refuses(self, source: Source) -> bool:
        """Never: what is not finite may be trimmed away."""
        del source
        return False

    def measure(self, need: Need, source: Source, seen: Statistics) -> Statistics:
        """The statistic, by passes over slices."""

        def each(function: Callable[[Slice], T], stride: int = 1) -> Iterator[T]:
            return source.each(lambda block: function(widened(source, block, stride)[0]))

        parents, elements = len(source.parents), source.job.elements
        return measure(need, source.job.options, each, parents=parents, elements=elements, seen=seen)

    def merge(
        self, source: Source, block: Block, settled: Options, seen: Statistics, into: Bytes | None = None
    ) -> tuple[Bytes, Json]:
        """The method's block function, on top of the base for a delta method, rounded once; and its note."""
        del into
        given, base = widened(source, block)
        merged, note = source.plan.method.block(given, settled, seen), None
        if isinstance(merged, tuple):  # of a tensor given whole: with a note on what was found in it
            merged, note = merged
        factor = source.job.coefficients.get(LINES)
        if isinstance(factor, float):
            merged = merged * factor
        whole = merged if base is None else base + merged
        rounded = arithmetic.narrow(whole, getattr(torch, source.job.dtype))
        found: Bytes = rounded.view(torch.uint8).numpy()
        return found, note

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """One torch thread in the caller's thread too, and as many as before afterwards."""
        before = torch.get_num_threads()
        self.start()
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def start(self) -> None:
        """Keep torch from starting threads of its own below each of ours."""
        torch.set_num_threads(1)


def widened(source: Source, block: Block, stride: int = 1) -> tuple[Slice, Tensor | None]:
    """The slice of a block, and the base there (None in weight space); of one element in `stride`."""
    method, parents = source.plan.method, source.parents
    rows = zip(block.rows, source.dtypes, strict=True)
    raw = [_tensor(row, dtype)[::stride] for row, dtype in rows]
    wide = [row.to(torch.float32) for row in raw]
    base = wide.pop(0) if method.space == "delta" else None
    tensors = wide if base is None else [parent - base for parent in wide]
    keys = [mask_key(source.plan.recipe.seed, *parent) for parent in parents]
    count, kept, draws = raw[0].numel(), [], []
    if method.mask is not None:
        drops = per_parent(source.job.options, method.mask, len(parents))
        kept = [masks.kept(key, block.start, count, drop) for key, drop in zip(keys, drops, strict=True)]
    if method.draws:
        draws = [masks.draws(key, block.start, count) for key in keys]
    shape = source.job.shape if source.job.whole else ()
    return Slice(tensors, kept, block.start, draws, source.row, shape), base


def _tensor(row: Bytes, dtype: str) -> Tensor:
    """A row as a tensor; torch wants memory that it could write to."""
    return torch.from_numpy(row if row.flags.writeable else row.copy()).view(getattr(torch, dtype))


def measure(
    need: Need, options: Options, each: Pass, *, parents: int, elements: int, seen: Statistics
) -> Statistics:
    """The values of one statistic (statistics.py) over one tensor of `elements` > 0.

    each: runs a function over the tensor's slices, in order, as often as it is called.
    """
    if need.of is not None:
        each = _view(need.of, options, seen, each)
    if need.statistic == "kept_magnitude":
        bounds = kept_magnitudes(Slices(each), keeps(need, options, parents, elements), elements)
        return {"threshold": tuple(t for t, _ in bounds), "cut": tuple(float(cut) for _, cut in bounds)}
    if need.statistic == "masked_l1":
        sums = _sums(each, _masked_l1)
        return {"l1": sums[:parents], "masked_l1": sums[parents:]}
    return {need.statistic: _sums(each, {"dots": _dots, "l1": _l1, "squares": _squares}[need.statistic])}


def _view(of: View, options: Options, seen: Statistics, each: Pass) -> Pass:
    """Passes over what `of` makes of each slice."""

    def derived(function: Callable[[Slice], T], stride: int = 1) -> Iterator[T]:
        return each(lambda given: function(replace(given, tensors=of(given, options, seen))), stride)

    return derived


def _sums(each: Pass, folded: Callable[[Slice], list[list[float]]]) -> tuple[float, ...]:
    """Tree sums of several quantities at once; folded: leaf sums of each quantity in one slice."""
    columns = zip(*each(folded), strict=True)
    return tuple(pairwise([leaf for found in column for leaf in found]) for column in columns)


def _dots(given: Slice) -> list[list[float]]:
    wide = [arithmetic.leaves(tensor) for tensor in given.tensors]
    pairs = [(a, b) for i, a in enumerate(wide) for b in wide[i:]]
    return [[fold(x * y) for x, y in zip(a, b, strict=True)] for a, b in pairs]


def _masked_l1(given: Slice) -> list[list[float]]:
    whole = [tensor.abs() for tensor in given.tensors]
    masked = [magnitude * kept for magnitude, kept in zip(whole, given.kept, strict=True)]
    return [[fold(leaf) for leaf in arithmetic.leaves(magnitude)] for magnitude in whole + masked]


def _squares(given: Slice) -> list[list[float]]:
    return [[fold(leaf * leaf) for leaf in arithmetic.leaves(tensor)] for tensor in given.tensors]


def _l1(given: Slice) -> list[list[float]]:
    """By leaves; by rows where slices are whole rows, which leaves would cut at places that blocks decide."""
    magnitudes = [tensor.abs() for tensor in given.tensors]
    if given.row > 1:
        return [_row_sums(magnitude, given.row) for magnitude in magnitudes]
    return [[fold(leaf) for leaf in arithmetic.leaves(magnitude)] for magnitude in magnitudes]


def _row_sums(tensor: Tensor, row: int) -> list[float]:
    """The float64 sum of each row: halves are added as in `fold`."""
    values = tensor.reshape(-1, row).double().numpy()
    while (width := values.shape[1]) > 1:
        half = 1 << (width - 1).bit_length() - 1
        lower = values[:, :half].copy()
        lower[:, : width - half] += values[:, half:]
        values = lower
    return [float(total) for total in values[:, 0]]
