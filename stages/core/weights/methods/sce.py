"""Select the entries in which the parents differ most, weigh each parent by its energy there, elect signs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.core.records.canonical import Json, hex_float
from stages.core.weights.method import Method, Need, Options, Parameter, Slice, Statistics, number
from stages.core.weights.methods import ties
from stages.core.weights.numerics import float32, float32_below

if TYPE_CHECKING:
    from torch import Tensor


def spread(given: Slice, options: Options, statistics: Statistics) -> "Sequence[Tensor]":
    """One tensor: the square root of the sum of squared distances of the deltas from their mean.

    Sorts as the variance does, in float64 until the last rounding to float32, where squares of small deltas
    would all be zero.
    """
    del options, statistics
    wide = [delta.double() for delta in given.tensors]
    mean = wide[0]
    for delta in wide[1:]:
        mean = mean + delta
    mean = mean / len(wide)
    total = (wide[0] - mean) * (wide[0] - mean)
    for delta in wide[1:]:
        total = total + (delta - mean) * (delta - mean)
    return [total.sqrt().float()]


def selected(given: Slice, options: Options, statistics: Statistics) -> "Sequence[Tensor]":
    """The deltas with zeros outside the entries of greatest spread."""
    (spreads,) = spread(given, options, statistics)
    (threshold,), (cut,) = statistics["threshold"], statistics["cut"]
    chosen = (spreads > threshold).float()
    before = min(max(int(cut) - given.start, 0), len(chosen))
    chosen[:before] = (spreads[:before] > float32_below(threshold)).float() if threshold > 0.0 else 1.0
    return [delta * chosen for delta in given.tensors]


def coefficients(options: Options) -> Options:
    """`density` and `scale` in float32; the weights depend on each tensor (`settle`)."""
    return {**options, "scale": float32(number(options, "scale"))}


def settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """`weights`: each parent's share of the squares of the selected deltas, noted; equal if all are zero."""
    squares = statistics["squares"]
    total = sum(squares)
    shares = [square / total if total > 0.0 else 1.0 / len(squares) for square in squares]
    election = {"election": "sum", "divisor": "surviving_weights"}
    settled = {**options, **election, "weights": tuple(float32(share) for share in shares)}
    return settled, {"weights": [hex_float(share) for share in shares]}


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """Weighted mean of the selected deltas that have the sign of their sum, times `scale`."""
    return ties.consensus(selected(given, options, statistics), options)


METHOD = Method(
    name="sce",
    version=1,
    source="arXiv 2408.07990",
    space="delta",
    parameters=(
        Parameter("density", "scalar", 0.1, "selected share of entries per tensor, by variance", high=1.0),
        Parameter("scale", "scalar", 1.0, "lambda: factor of the merged task vector", low=-10.0, high=10.0),
    ),
    coefficients=coefficients,
    block=block,
    settle=settle,
    needs=(
        Need("kept_magnitude", argument="density", of=spread),
        Need("squares", of=selected),
    ),
)
