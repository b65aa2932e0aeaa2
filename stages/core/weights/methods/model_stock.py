"""The base plus the mean task vector, shortened by the angle between the task vectors, tensor by tensor."""

import math
from typing import TYPE_CHECKING

from stages.core.errors import Unmergeable
from stages.core.records.canonical import Json, hex_float
from stages.core.weights.method import Method, Need, Options, Parameter, Slice, Statistics, gram, numbers
from stages.core.weights.methods.linear import weighted_sum
from stages.core.weights.numerics import float32

if TYPE_CHECKING:
    from torch import Tensor


POLE = 1e-9  # of the denominator 1 + (N - 1) cos: beyond it a share exceeds 10^9
OBTUSE = Parameter(
    "obtuse",
    "choice",
    "base",
    "where the mean cosine is below 0: the base, or what the formula says, a step away from the fine-tunes",
    choices=("base", "formula"),
    late=True,
)


def coefficients(options: Options) -> Options:
    """As given: the shares depend on each tensor's angles (`settle`)."""
    return dict(options)


def settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """`shares`: t / N for every task vector, t = N cos / (1 + (N - 1) cos), and cos and t in a note.

    cos is the mean cosine over all pairs; a pair with a zero task vector counts as 0, and a mean below 0 as 0
    (`obtuse`) unless the formula is asked for: the base comes back, where it would step away from the
    fine-tunes.
    Raises Unmergeable at the formula's pole, a mean of -1 / (N - 1).
    """
    dots = statistics["dots"]
    count = math.isqrt(2 * len(dots))
    products = gram(dots, count)
    cosines = [
        _cosine(products[i][i], products[i][j], products[j][j])
        for i in range(count)
        for j in range(i + 1, count)
    ]
    mean = math.fsum(cosines) / len(cosines)
    least = -1.0 if options.get("obtuse") == "formula" else 0.0
    bounded = min(1.0, max(least, mean))
    below = 1.0 + (count - 1) * bounded
    if abs(below) < POLE:
        raise Unmergeable(
            f"the task vectors' mean cosine is {mean:.6g}, where the formula has no value. Set obtuse: base"
        )
    t = count * bounded / below
    note = {"cosine": hex_float(mean), "t": hex_float(t), **({"branch": "obtuse"} if mean < 0.0 else {})}
    return {"shares": (float32(t / count),) * count}, note


def _cosine(aa: float, ab: float, bb: float) -> float:
    length = math.sqrt(aa) * math.sqrt(bb)
    return ab / length if length > 0.0 else 0.0


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The sum of the deltas times their share."""
    del statistics
    return weighted_sum(given.tensors, numbers(options, "shares"))


METHOD = Method(
    name="model_stock",
    version=1,
    source="arXiv 2403.19522",
    space="delta",
    parameters=(OBTUSE,),
    coefficients=coefficients,
    block=block,
    settle=settle,
    needs=(Need("dots"),),
    kernel="combine",
)
