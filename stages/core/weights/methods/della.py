"""Drop entries at random, the smaller of a row the likelier; rescale, then TIES or task arithmetic.

A row is the last dimension; a vector is one row, a scalar a row of one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.core.records.canonical import Json
from stages.core.weights.method import (
    Method,
    Need,
    Options,
    Parameter,
    Slice,
    Statistics,
    number,
    numbers,
    per_parent,
)
from stages.core.weights.methods import dare, task_arithmetic, ties
from stages.core.weights.methods.linear import no_zero_sum, shares, weighted_sum
from stages.core.weights.numerics import DRAWS

if TYPE_CHECKING:
    from torch import Tensor

PRUNING = (
    Parameter("density", "one_or_each", 0.5, "mean probability of keeping an entry", low=0.001, high=1.0),
    Parameter(
        "epsilon",
        "one_or_each",
        0.1,
        "the least of a row is kept with density - epsilon, the greatest +",
        high=0.5,
    ),
    Parameter(
        "rescale",
        "choice",
        "paper",
        "factor of the kept entries: 1 over the probability of keeping each, none, or what restores L1",
        choices=("paper", "none", "l1"),
    ),
)


def _shares(options: Options) -> list[tuple[float, float]]:
    """Density and epsilon of each parent."""
    parents = len(numbers(options, "weights"))
    return list(
        zip(per_parent(options, "density", parents), per_parent(options, "epsilon", parents), strict=True)
    )


def possible(options: Options) -> list[str]:
    """A sentence if some entry would be kept with a probability of 0 or over 1."""
    for density, epsilon in _shares(options):
        if density - epsilon <= 0.0 or density + epsilon > 1.0:
            return [f"epsilon: {density:g} +- {epsilon:g} must lie above 0 and not above 1"]
    return []


def pruned(
    delta: "Tensor", draws: "Tensor", row: int, *, density: float, epsilon: float, paper: bool
) -> "Tensor":
    """`delta` with zeros where it is dropped, the rest divided by its probability of being kept if `paper`.

    delta, draws: float32 [n], n a multiple of `row`. The entry of rank r in its row, by magnitude from 0, the
    lower index first among equals, is kept with density + epsilon * (2 r / (row - 1) - 1), rounded to
    1/65536; a row of one with density.
    """
    low, width = density - epsilon, 2.0 * epsilon
    ranks = delta.abs().reshape(-1, row).argsort(dim=-1, stable=True).argsort(dim=-1).reshape(-1)
    place = ranks.double() / (row - 1) if row > 1 else ranks.double() + 0.5
    share = ((place * width + low) * DRAWS).round().clamp(min=1.0, max=float(DRAWS)).float()
    kept = delta * (draws + share >= DRAWS).float()
    return kept * (DRAWS / share) if paper else kept


def all_pruned(given: Slice, options: Options, statistics: Statistics) -> "Sequence[Tensor]":
    """Every delta as `pruned` leaves it."""
    del statistics
    paper = options["rescale"] == "paper"
    return [
        pruned(delta, draws, given.row, density=density, epsilon=epsilon, paper=paper)
        for delta, draws, (density, epsilon) in zip(given.tensors, given.draws, _shares(options), strict=True)
    ]


def linear_coefficients(options: Options) -> Options:
    """`shares`: scale times weight of each task vector, beside the parameters of the pruning."""
    return {**options, "shares": shares(options, number(options, "scale"))}


def _norms(statistics: Statistics) -> Statistics:
    """The L1 norms by the names that DARE gives them; none where none were taken."""
    return {"l1": statistics.get("l1", ()), "masked_l1": statistics.get("pruned_l1", ())}


def linear_settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """As DARE: with rescale l1 every share times its parent's norm ratio in this tensor, noted."""
    return dare.linear_settle(options, _norms(statistics))


def settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """As DARE: with rescale l1 `factors`, the parents' norm ratios in this tensor, noted."""
    return dare.ties_settle(options, _norms(statistics))


def linear_block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The scaled sum of the pruned deltas."""
    return weighted_sum(all_pruned(given, options, statistics), numbers(options, "shares"))


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The TIES consensus of the pruned, rescaled deltas."""
    left = all_pruned(given, options, statistics)
    if "factors" in options:
        left = [delta * factor for delta, factor in zip(left, numbers(options, "factors"), strict=True)]
    return ties.consensus(left, options)


NEEDS = (
    Need("l1", when=("rescale", "l1")),
    Need("l1", when=("rescale", "l1"), label="pruned_", of=all_pruned),
)


METHOD = Method(
    name="della",
    version=1,
    source="arXiv 2406.11617",
    space="delta",
    parameters=(*PRUNING, *ties.CONSENSUS),
    coefficients=ties.coefficients,
    block=block,
    settle=settle,
    check=lambda options: possible(options) + ties.some_weight(options),
    needs=NEEDS,
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
    settle=linear_settle,
    check=lambda options: possible(options) + no_zero_sum(options),
    needs=NEEDS,
    draws=True,
    rows=True,
)
