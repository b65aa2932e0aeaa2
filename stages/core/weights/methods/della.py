"""Drop entries at random, the smaller of a row the likelier; rescale, then TIES or task arithmetic.

A row is the last dimension; a vector is one row, a scalar a row of one.
"""

from typing import TYPE_CHECKING

from stages.core.weights.method import Method, Options, Parameter, Slice, Statistics, number, numbers
from stages.core.weights.methods import task_arithmetic, ties
from stages.core.weights.methods.linear import no_zero_sum, shares, weighted_sum
from stages.core.weights.numerics import DRAWS

if TYPE_CHECKING:
    from torch import Tensor

PRUNING = (
    Parameter("density", "scalar", 0.5, "mean probability of keeping an entry", low=0.001, high=1.0),
    Parameter(
        "epsilon",
        "scalar",
        0.1,
        "the least of a row is kept with density - epsilon, the greatest +",
        high=0.5,
    ),
    Parameter(
        "rescale",
        "choice",
        "paper",
        "factor of the kept entries: 1 over the probability of keeping each, or none",
        choices=("paper", "none"),
    ),
)


def possible(options: Options) -> list[str]:
    """A sentence if some entry would be kept with a probability of 0 or over 1."""
    density, epsilon = number(options, "density"), number(options, "epsilon")
    if density - epsilon > 0.0 and density + epsilon <= 1.0:
        return []
    return [f"epsilon: {density:g} +- {epsilon:g} must lie above 0 and not above 1"]


def pruned(delta: "Tensor", draws: "Tensor", row: int, options: Options) -> "Tensor":
    """`delta` with zeros where it is dropped, the rest rescaled.

    delta, draws: float32 [n], n a multiple of `row`. The entry of rank r in its row, by magnitude from 0, the
    lower index first among equals, is kept with density + epsilon * (2 r / (row - 1) - 1), rounded to
    1/65536; a row of one with density.
    """
    low, width = number(options, "density") - number(options, "epsilon"), 2.0 * number(options, "epsilon")
    ranks = delta.abs().reshape(-1, row).argsort(dim=-1, stable=True).argsort(dim=-1).reshape(-1)
    place = ranks.double() / (row - 1) if row > 1 else ranks.double() + 0.5
    share = ((place * width + low) * DRAWS).round().clamp(min=1.0, max=float(DRAWS)).float()
    kept = delta * (draws + share >= DRAWS).float()
    return kept if options["rescale"] == "none" else kept * (DRAWS / share)


def _all_pruned(given: Slice, options: Options) -> "list[Tensor]":
    pairs = zip(given.tensors, given.draws, strict=True)
    return [pruned(delta, draws, given.row, options) for delta, draws in pairs]


def linear_coefficients(options: Options) -> Options:
    """`shares`: scale times weight of each task vector, beside the parameters of the pruning."""
    return {**options, "shares": shares(options, number(options, "scale"))}


def linear_block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The scaled sum of the pruned deltas."""
    del statistics
    return weighted_sum(_all_pruned(given, options), numbers(options, "shares"))


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The TIES consensus of the pruned deltas."""
    del statistics
    return ties.consensus(_all_pruned(given, options), options)


METHOD = Method(
    name="della",
    version=1,
    source="arXiv 2406.11617",
    space="delta",
    parameters=(*PRUNING, *ties.CONSENSUS),
    coefficients=ties.coefficients,
    block=block,
    check=lambda options: possible(options) + ties.some_weight(options),
    draws=True,
    rows=True,
)
LINEAR = Method(
    name="della_linear",
    version=1,
    source="arXiv 2406.11617",
    space="delta",
    parameters=(*PRUNING, *task_arithmetic.PARAMETERS),
    coefficients=linear_coefficients,
    block=linear_block,
    check=lambda options: possible(options) + no_zero_sum(options),
    draws=True,
    rows=True,
)
