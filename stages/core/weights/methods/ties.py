"""Trim task vectors by magnitude, elect a sign for each entry, and average those that agree with it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.core.weights.method import Method, Need, Options, Parameter, Slice, Statistics, number, numbers
from stages.core.weights.methods.linear import weighted_sum
from stages.core.weights.numerics import float32, float32_below

if TYPE_CHECKING:
    from torch import Tensor

CONSENSUS = (
    Parameter("weights", "per_parent", 1.0, "weight of each task vector", low=0.0, high=10.0),
    Parameter("scale", "scalar", 1.0, "lambda: factor of the merged task vector", low=-10.0, high=10.0),
    Parameter(
        "election",
        "choice",
        "sum_weighted",
        "what elects the sign: sum of weighted deltas, sum of deltas, or count of signs",
        choices=("sum_weighted", "sum", "count"),
    ),
    Parameter(
        "divisor",
        "choice",
        "surviving_weights",
        "what the agreeing sum is divided by: their weights, how many they are, or nothing",
        choices=("surviving_weights", "count", "none"),
    ),
)


def some_weight(options: Options) -> list[str]:
    """A sentence if every weight is zero."""
    return [] if any(numbers(options, "weights")) else ["weights: all are zero. Give some parent a weight"]


def consensus(deltas: "Sequence[Tensor]", options: Options) -> "Tensor":
    """Weighted mean, at each entry, of the deltas that have the elected sign, times `scale`.

    deltas: float32 [n] each, zero where trimmed; a zero entry neither agrees nor counts. A vote of zero
    elects plus. Where nothing survives, or only weights of zero, the result is zero. With divisor `none`
    their weighted sum stays as it is: parents that agree add up.
    """
    weights, ones = numbers(options, "weights"), (1.0,) * len(deltas)
    if options["election"] == "count":
        votes = weighted_sum([delta.sign() for delta in deltas], ones)
    else:
        votes = weighted_sum(deltas, weights if options["election"] == "sum_weighted" else ones)
    direction = (votes.sign() + 0.5).sign()
    counted = weights if options["divisor"] == "surviving_weights" else ones
    agreeing = [(delta * direction).clamp(min=0.0) for delta in deltas]
    total = weighted_sum(agreeing, weights)
    if options["divisor"] != "none":
        divisor = weighted_sum([delta.sign() for delta in agreeing], counted)
        total = total / (divisor + (1.0 - divisor.sign()))
    return total * direction * number(options, "scale")


def trimmed(delta: "Tensor", threshold: float, cut: int) -> "Tensor":
    """`delta` with zeros where it is trimmed: entries above `threshold` in magnitude stay.

    An entry equal to the threshold stays if it lies before position `cut` (0 or less: none does).
    """
    if cut <= 0:
        return delta.hardshrink(threshold)
    kept = delta.hardshrink(float32_below(threshold))
    kept[cut:] = delta[cut:].hardshrink(threshold)
    return kept


def coefficients(options: Options) -> Options:
    """`weights` and `scale` in float32, beside the choices and the density."""
    weights = tuple(float32(weight) for weight in numbers(options, "weights"))
    return {**options, "weights": weights, "scale": float32(number(options, "scale"))}


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The consensus of the trimmed deltas, each by its own tensor-wide threshold and cut."""
    bounds = zip(given.tensors, statistics["threshold"], statistics["cut"], strict=True)
    kept = [trimmed(delta, threshold, int(cut) - given.start) for delta, threshold, cut in bounds]
    return consensus(kept, options)


METHOD = Method(
    name="ties",
    version=1,
    source="arXiv 2306.01708",
    space="delta",
    parameters=(
        Parameter("density", "one_or_each", 0.2, "kept share of entries per tensor, by magnitude", high=1.0),
        *CONSENSUS,
    ),
    coefficients=coefficients,
    block=block,
    check=some_weight,
    needs=(Need("kept_magnitude", argument="density"),),
    kernel="consensus",
)
