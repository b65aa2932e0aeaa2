"""One output tensor to be worked out, and the terms that are added up there: what an error is counted in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.reference import draws, merges, more_merges
from tests.reference.merges import Array

State = Mapping[str, Array]


@dataclass(frozen=True)
class Problem:
    """One output tensor to be worked out.

    base, parents: name -> float64 tensor, of every input; labels: the parents' digests, which key the masks.
    options: the recipe's parameters, resolved.
    """

    name: str
    base: State | None
    parents: Sequence[State]
    labels: Sequence[str]
    options: Mapping[str, Any]
    seed: int

    @property
    def origin(self) -> Array:
        """The base's tensor of that name. Raises TypeError in weight space."""
        if self.base is None:
            raise TypeError("a merge in weight space has no base")
        return self.base[self.name]

    @property
    def tensors(self) -> list[Array]:
        """The parents' tensors of that name."""
        return [parent[self.name] for parent in self.parents]

    @property
    def deltas(self) -> list[Array]:
        """The parents' tensors minus the base's. Raises TypeError in weight space."""
        return [theta - self.origin for theta in self.tensors]


def inputs(given: Problem, gain: float = 1.0) -> list[Array]:
    """The parents times `gain`, or the base and the deltas times it."""
    if given.base is None:
        return [gain * theta for theta in given.tensors]
    return [given.origin, *[gain * delta for delta in given.deltas]]


def scaled(given: Problem) -> list[Array]:
    """`inputs`, the gain the greatest |scale · weight · rescaling factor|, where that is over 1."""
    weights, factors = _weights(given.options), _factors(given)
    count = max(len(weights), len(factors))
    products = [w * f for w, f in zip(_spread(weights, count), _spread(factors, count), strict=True)]
    return inputs(given, max(1.0, abs(given.options.get("scale", 1.0)) * max(products)))


def stepped(given: Problem) -> list[Array]:
    """`inputs`, the gain model_stock's share of each delta, where that is over 1."""
    return inputs(given, max(1.0, abs(more_merges.model_stock_share(given.deltas, **given.options))))


def alone(given: Problem) -> list[Array]:
    """None beside the result: nothing is added up."""
    del given
    return []


def _weights(options: Mapping[str, Any]) -> list[float]:
    weights = np.abs(options.get("weights", [1.0]))
    normalised = weights / abs(np.sum(options["weights"])) if options.get("normalise") else weights
    return [float(weight) for weight in normalised]


def _spread(numbers: list[float], count: int) -> list[float]:
    return numbers if len(numbers) == count else numbers * count


def _factors(given: Problem) -> list[float]:
    """Per parent, what its entries may be multiplied by where some are dropped at random."""
    options = given.options
    rescale = options.get("rescale", "none")
    if rescale == "none":
        return [1.0]
    if rescale == "l1":
        return [_ratio(delta, left) for delta, left in zip(given.deltas, left_by_masks(given), strict=True)]
    if "epsilon" in options:
        shares = (merges.each(options[name], given.parents) for name in ("density", "epsilon"))
        return [1 / (density - epsilon) for density, epsilon in zip(*shares, strict=True)]
    return [1 / (1 - drop) for drop in merges.each(options["drop"], given.parents)]


def _ratio(delta: Array, left: Array) -> float:
    norm = float(np.abs(left).sum())
    return float(np.abs(delta).sum()) / norm if norm > 0 else 1.0


def masks(given: Problem) -> list[merges.Mask]:
    """Per parent, what its mask keeps of this tensor."""
    drops = merges.each(given.options["drop"], given.parents)
    return [
        draws.kept(given.seed, label, given.name, delta.size, drop).reshape(delta.shape)
        for label, delta, drop in zip(given.labels, given.deltas, drops, strict=True)
    ]


def row_pruned(given: Problem, rescale: str) -> list[Array]:
    """Per parent, its delta after pruning by rows."""
    shares = [merges.each(given.options[name], given.parents) for name in ("density", "epsilon")]
    pruned = []
    for label, delta, density, epsilon in zip(given.labels, given.deltas, *shares, strict=True):
        drawn = draws.draws(given.seed, label, given.name, delta.size)
        one = more_merges.row_pruned(delta, drawn, density=density, epsilon=epsilon, rescale=rescale)
        pruned.append(one)
    return pruned


def left_by_masks(given: Problem) -> list[Array]:
    """The deltas with zeros where a mask or a pruning drops them, not rescaled."""
    if "epsilon" in given.options:
        return row_pruned(given, "none")
    return [np.where(kept, delta, 0.0) for kept, delta in zip(masks(given), given.deltas, strict=True)]
