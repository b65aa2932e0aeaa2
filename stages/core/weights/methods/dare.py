"""Drop entries of task vectors at random and rescale the rest, then task arithmetic or TIES."""

from typing import TYPE_CHECKING

from stages.core.records.canonical import Json, hex_float
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
from stages.core.weights.methods import task_arithmetic, ties
from stages.core.weights.methods.linear import no_zero_sum, shares, weighted_sum
from stages.core.weights.numerics import DRAWS, drop_count, float32

if TYPE_CHECKING:
    from torch import Tensor

DROPPING = (
    Parameter(
        "drop", "one_or_each", 0.5, "probability of dropping an entry, in steps of 1/65536", high=0.999
    ),
    Parameter(
        "rescale",
        "choice",
        "paper",
        "factor of the kept entries: 1/(1-drop), what restores the tensor's L1 norm, or none",
        choices=("paper", "l1", "none"),
    ),
)
NEEDS = (Need("masked_l1", argument="drop", when=("rescale", "l1")),)


def _factors(options: Options) -> tuple[float, ...]:
    """Per parent, 1/(1-drop) for the drop probability really drawn; 1 unless rescale is `paper`."""
    drops = per_parent(options, "drop", len(numbers(options, "weights")))
    paper = options["rescale"] == "paper"
    return tuple(DRAWS / (DRAWS - drop_count(drop)) if paper else 1.0 for drop in drops)


def norm_ratios(statistics: Statistics) -> list[float]:
    """Per parent: L1 norm of the delta over that of its kept entries; 1 where these are all zero.

    statistics: `l1` and `masked_l1` per parent.
    """
    pairs = zip(statistics["l1"], statistics["masked_l1"], strict=True)
    return [whole / kept if kept > 0.0 else 1.0 for whole, kept in pairs]


def linear_coefficients(options: Options) -> Options:
    """`shares`: scale times weight times rescaling factor of each task vector."""
    factors = _factors(options)
    scaled = [shares(options, number(options, "scale") * factor) for factor in factors]
    return {**options, "shares": tuple(each[place] for place, each in enumerate(scaled))}


def linear_settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """With rescale l1: every share times its parent's norm ratio in this tensor, noted; else unchanged."""
    if options["rescale"] != "l1":
        return options, None
    ratios = norm_ratios(statistics)
    pairs = zip(numbers(options, "shares"), ratios, strict=True)
    scaled = tuple(float32(share * ratio) for share, ratio in pairs)
    return {**options, "shares": scaled}, {"rescale": [hex_float(ratio) for ratio in ratios]}


def linear_block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The scaled sum of the masked deltas."""
    del statistics
    masked = [delta * kept for delta, kept in zip(given.tensors, given.kept, strict=True)]
    return weighted_sum(masked, numbers(options, "shares"))


def ties_coefficients(options: Options) -> Options:
    """As TIES, the scale times the rescaling factor; `factors` in its place where the parents' differ.

    A factor that all parents share is left out of the votes: rounded products would break exact ties.
    """
    factors = _factors(options)
    if len(set(factors)) > 1:
        return {**ties.coefficients(options), "factors": tuple(float32(factor) for factor in factors)}
    return ties.coefficients({**options, "scale": number(options, "scale") * factors[0]})


def ties_settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """With rescale l1: `factors`, the parents' norm ratios in this tensor, noted; else unchanged."""
    if options["rescale"] != "l1":
        return options, None
    ratios = norm_ratios(statistics)
    factors = tuple(float32(ratio) for ratio in ratios)
    return {**options, "factors": factors}, {"rescale": [hex_float(ratio) for ratio in ratios]}


def ties_block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The TIES consensus of the masked, rescaled deltas: the mask stands in for trimming by magnitude."""
    del statistics
    masked = [delta * kept for delta, kept in zip(given.tensors, given.kept, strict=True)]
    if "factors" in options:
        masked = [delta * factor for delta, factor in zip(masked, numbers(options, "factors"), strict=True)]
    return ties.consensus(masked, options)


LINEAR = Method(
    name="dare_linear",
    version=1,
    source="arXiv 2311.03099",
    space="delta",
    parameters=(*DROPPING, *task_arithmetic.PARAMETERS),
    coefficients=linear_coefficients,
    block=linear_block,
    settle=linear_settle,
    check=no_zero_sum,
    needs=NEEDS,
    mask="drop",
    kernel="combine",
    gain=task_arithmetic.gain,
)
TIES = Method(
    name="dare_ties",
    version=1,
    source="arXiv 2311.03099, 2306.01708",
    space="delta",
    parameters=(*DROPPING, *ties.CONSENSUS),
    coefficients=ties_coefficients,
    block=ties_block,
    settle=ties_settle,
    check=ties.some_weight,
    needs=NEEDS,
    mask="drop",
    kernel="consensus",
)
