"""Task arithmetic on the entries that matter to several tasks, by TALL masks (consensus merging)."""

from typing import TYPE_CHECKING

from stages.core.weights.method import Method, Options, Parameter, Slice, Statistics, number, numbers
from stages.core.weights.methods import task_arithmetic
from stages.core.weights.methods.linear import no_zero_sum, shares, weighted_sum
from stages.core.weights.numerics import float32

if TYPE_CHECKING:
    from torch import Tensor


def check(options: Options) -> list[str]:
    """Sentences if the number of tasks is not whole, or if the weights cancel."""
    least, parents = number(options, "active_in"), len(numbers(options, "weights"))
    if least != int(least) or least > parents:
        return [f"active_in: expected a whole number from 1 to {parents}, got {least:g}"]
    return no_zero_sum(options)


def coefficients(options: Options) -> Options:
    """`shares` of the task vectors without the scale, `thresholds`, `active_in` and `scale`, in float32."""
    return {
        "shares": shares(options),
        "thresholds": tuple(float32(threshold) for threshold in numbers(options, "thresholds")),
        "active_in": number(options, "active_in"),
        "scale": float32(number(options, "scale")),
    }


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The summed task vectors where at least `active_in` tasks are active, zero elsewhere, times `scale`.

    A task is active at an entry where its weighted delta is at least its threshold times what the others
    add up to there, in magnitude: |w δ| >= threshold · |sum - w δ|.
    """
    del statistics
    own = [delta * share for delta, share in zip(given.tensors, numbers(options, "shares"), strict=True)]
    total = weighted_sum(own, (1.0,) * len(own))
    active = [
        (delta.abs() >= (total - delta).abs() * threshold).float()
        for delta, threshold in zip(own, numbers(options, "thresholds"), strict=True)
    ]
    votes = weighted_sum(active, (1.0,) * len(active))
    return total * (votes >= number(options, "active_in")).float() * number(options, "scale")


METHOD = Method(
    name="consensus",
    version=1,
    source="arXiv 2405.07813",
    space="delta",
    parameters=(
        Parameter("thresholds", "per_parent", 0.4, "how far a task must stand out to be active", high=10.0),
        Parameter("active_in", "scalar", 2.0, "keep entries active in at least so many tasks", 1.0, 64.0),
        *task_arithmetic.PARAMETERS,
    ),
    coefficients=coefficients,
    block=block,
    check=check,
)
