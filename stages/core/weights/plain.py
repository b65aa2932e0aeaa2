"""The plain backend: methods as they are written, on torch tensors. Other backends are checked by it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from stages.core.weights import arithmetic, masks
from stages.core.weights.backend import Block, Bytes, Source, T
from stages.core.weights.method import Need, Options, Slice, Statistics, number
from stages.core.weights.numerics import mask_key
from stages.core.weights.statistics import measure


class Plain:
    """torch, one thread for each thread of the merge."""

    name = "torch"

    def finite(self, row: Bytes, dtype: str) -> bool:
        """Whether no element of a row is a NaN or an infinity."""
        return arithmetic.finite(torch.from_numpy(row).view(getattr(torch, dtype)))

    def measure(self, need: Need, source: Source) -> Statistics:
        """The statistic, by passes over slices."""

        def each(function: Callable[[Slice], T], stride: int = 1) -> Iterator[T]:
            return source.each(lambda block: function(widened(source, block, stride)[0]))

        recipe = source.plan.recipe
        return measure(need, recipe.parameters, each, len(recipe.parents), source.job.elements)

    def merge(self, source: Source, block: Block, settled: Options, seen: Statistics) -> Bytes:
        """The method's block function, on top of the base for a delta method, rounded once."""
        given, base = widened(source, block)
        merged = source.plan.method.block(given, settled, seen)
        whole = merged if base is None else base + merged
        rounded = arithmetic.narrow(whole, getattr(torch, source.job.dtype))
        found: Bytes = rounded.view(torch.uint8).numpy()
        return found

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
    plan, name = source.plan, source.job.name
    raw = [
        torch.from_numpy(row).view(getattr(torch, given.tensors[name].dtype))[::stride]
        for row, given in zip(block.rows, plan.inputs, strict=True)
    ]
    wide = [row.to(torch.float32) for row in raw]
    base = wide.pop(0) if plan.method.space == "delta" else None
    tensors = wide if base is None else [parent - base for parent in wide]
    kept = []
    if plan.method.mask is not None:
        drop = number(plan.recipe.parameters, plan.method.mask)
        for parent in plan.recipe.parents:
            key = mask_key(plan.recipe.seed, parent, name)
            kept.append(masks.kept(key, block.start, raw[0].numel(), drop))
    return Slice(tensors, kept, block.start), base
