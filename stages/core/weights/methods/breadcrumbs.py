"""Drop the greatest and the smallest entries of each task vector, then task arithmetic."""

from typing import TYPE_CHECKING

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
from stages.core.weights.methods import task_arithmetic
from stages.core.weights.methods.linear import no_zero_sum, shares, weighted_sum
from stages.core.weights.methods.ties import trimmed

if TYPE_CHECKING:
    from torch import Tensor


def _shares(options: Options) -> list[tuple[float, float]]:
    """Density and gamma of each parent."""
    parents = len(numbers(options, "weights"))
    return list(
        zip(per_parent(options, "density", parents), per_parent(options, "gamma", parents), strict=True)
    )


def dropped_on_top(options: Options, elements: int) -> list[int]:
    """Per parent, how many of the greatest go: gamma * elements in float64, rounded down; 0 under 1/gamma."""
    return [int(gamma * elements) for _, gamma in _shares(options)]


def down_to_the_last_kept(options: Options, elements: int) -> list[int]:
    """Per parent, how many of the greatest entries are dropped or kept; at least one is kept."""
    tops = dropped_on_top(options, elements)
    kept = [max(1, int(density * elements)) for density, _ in _shares(options)]
    return [min(elements, top + count) for top, count in zip(tops, kept, strict=True)]


def check(options: Options) -> list[str]:
    """Sentences if more is dropped and kept than there is, or if the weights cancel."""
    for density, gamma in _shares(options):
        if density + gamma > 1.0:
            return [f"density: {density:g} kept and gamma {gamma:g} dropped on top are more than 1"]
    return no_zero_sum(options)


def coefficients(options: Options) -> Options:
    """`shares`: scale times weight of each task vector, beside density and gamma."""
    return {**options, "shares": shares(options, number(options, "scale"))}


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The scaled sum of the deltas, each without its greatest and its smallest entries."""
    kept = []
    for place, delta in enumerate(given.tensors):
        upper, lower = (
            trimmed(
                delta, statistics[f"{label}threshold"][place], _cut(statistics[f"{label}cut"][place], given)
            )
            for label in ("top_", "")
        )
        kept.append(lower - upper)  # exact: an entry minus zero, or minus itself
    return weighted_sum(kept, numbers(options, "shares"))


def _cut(cut: float, given: Slice) -> int:
    return int(cut) - given.start


METHOD = Method(
    name="breadcrumbs",
    version=1,
    source="arXiv 2312.06795",
    space="delta",
    parameters=(
        Parameter(
            "density", "one_or_each", 0.15, "kept share of entries per tensor, below the top", high=1.0
        ),
        Parameter("gamma", "one_or_each", 0.01, "dropped share of the greatest entries per tensor", high=0.5),
        *task_arithmetic.PARAMETERS,
    ),
    coefficients=coefficients,
    block=block,
    check=check,
    needs=(
        Need("kept_magnitude", count=down_to_the_last_kept),
        Need("kept_magnitude", count=dropped_on_top, label="top_"),
    ),
)
