"""Weighted mean of the parents (model soups; WiSE-FT when one parent is the base)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.core.weights.method import Method, Options, Parameter, Slice, Statistics, numbers
from stages.core.weights.numerics import float32

if TYPE_CHECKING:
    from torch import Tensor


def shares(options: Options, scale: float = 1.0) -> tuple[float, ...]:
    """Each weight times `scale`, divided by the sum of weights if `normalise`, rounded once to float32."""
    weights = numbers(options, "weights")
    total = sum(weights) if options["normalise"] else 1.0
    return tuple(float32(scale * weight / total) for weight in weights)


def no_zero_sum(options: Options) -> list[str]:
    """A sentence if the weights cannot be normalised, because they cancel."""
    weights = numbers(options, "weights")
    if not any(weights):
        return ["weights: all are zero. Give some parent a weight"]
    if options["normalise"] and abs(sum(weights)) < 1e-6 * max(map(abs, weights)):
        return [f"weights: {list(weights)} sum to zero. Change one, or set normalise: false"]
    return []


def weighted_sum(tensors: "Sequence[Tensor]", weights: Sequence[float]) -> "Tensor":
    """Sum of weights[i] * tensors[i] in listed order, each product rounded before it is added."""
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total += tensor * weight
    return total


def coefficients(options: Options) -> Options:
    """`shares`: the parents' shares of the mean."""
    return {"shares": shares(options)}


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The weighted mean of the parents' slices."""
    del statistics
    return weighted_sum(given.tensors, numbers(options, "shares"))


METHOD = Method(
    name="linear",
    version=1,
    source="arXiv 2203.05482",
    space="weight",
    parameters=(
        Parameter("weights", "per_parent", 1.0, "weight of each parent", low=-10.0, high=10.0),
        Parameter("normalise", "flag", True, "divide the weights by their sum"),
    ),
    coefficients=coefficients,
    block=block,
    check=no_zero_sum,
    kernel="combine",
)
