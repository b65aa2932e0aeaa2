"""The base plus the mean task vector, shortened by the angle between the task vectors, tensor by tensor."""

import math
from typing import TYPE_CHECKING

from stages.core.records.canonical import Json, hex_float
from stages.core.weights.method import Method, Need, Options, Slice, Statistics, gram, numbers
from stages.core.weights.methods.linear import weighted_sum
from stages.core.weights.numerics import float32

if TYPE_CHECKING:
    from torch import Tensor


def coefficients(options: Options) -> Options:
    """None: the shares depend on each tensor's angles (`settle`)."""
    return dict(options)


def settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """`shares`: t / N for every task vector, t = N cos / (1 + (N - 1) cos), and cos and t in a note.

    cos is the mean cosine over all pairs; a pair with a zero task vector counts as 0, and a mean below 0 as 0
    (`obtuse`): the base comes back, where the formula would step away from the fine-tunes.
    """
    del options
    dots = statistics["dots"]
    count = math.isqrt(2 * len(dots))
    products = gram(dots, count)
    cosines = [
        _cosine(products[i][i], products[i][j], products[j][j])
        for i in range(count)
        for j in range(i + 1, count)
    ]
    mean = math.fsum(cosines) / len(cosines)
    bounded = min(1.0, max(0.0, mean))
    t = count * bounded / (1.0 + (count - 1) * bounded)
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
    parameters=(),
    coefficients=coefficients,
    block=block,
    settle=settle,
    needs=(Need("dots"),),
    kernel="combine",
)
