"""The base plus a scaled, weighted sum of task vectors; a negative weight forgets."""

from typing import TYPE_CHECKING

from stages.core.weights.method import Method, Options, Parameter, Slice, Statistics, number, numbers
from stages.core.weights.methods.linear import no_zero_sum, shares, weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

PARAMETERS = (
    Parameter("weights", "per_parent", 1.0, "weight of each task vector; negative forgets", -10.0, 10.0),
    Parameter("scale", "scalar", 0.4, "lambda: factor of the summed task vectors", low=-10.0, high=10.0),
    Parameter("normalise", "flag", False, "divide the weights by their sum"),
)


def coefficients(options: Options) -> Options:
    """`shares`: scale times weight of each task vector."""
    return {"shares": shares(options, number(options, "scale"))}


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The scaled sum of the deltas."""
    del statistics
    return weighted_sum(given.tensors, numbers(options, "shares"))


def gain(options: Options) -> tuple[float, ...]:
    """|share| of each parent: the merged delta is linear in every delta, and a mask only shortens one."""
    return tuple(abs(share) for share in numbers(options, "shares"))


METHOD = Method(
    name="task_arithmetic",
    version=1,
    source="arXiv 2212.04089",
    space="delta",
    parameters=PARAMETERS,
    coefficients=coefficients,
    block=block,
    check=no_zero_sum,
    kernel="combine",
    gain=gain,
)
