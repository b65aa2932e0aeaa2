"""Riemannian (Karcher) mean of the parents' directions, at their mean length, tensor by tensor."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import TypeAlias

from stages.core.errors import Unmergeable
from stages.core.records.canonical import Json, hex_float
from stages.core.weights.method import (
    Method,
    Need,
    Options,
    Parameter,
    Statistics,
    gram,
    number,
    numbers,
)
from stages.core.weights.methods import slerp
from stages.core.weights.methods.ties import some_weight
from stages.core.weights.numerics import ARC, angle_rad, float32

Vector: TypeAlias = list[Decimal]
Matrix: TypeAlias = list[Vector]

OPPOSITE_RAD = Decimal("1e-4")  # as slerp's default: within so much of pi no direction is the nearest


def coefficients(options: Options) -> Options:
    """The parameters as given: the shares depend on each tensor's dot products (`settle`)."""
    return dict(options)


def settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """The parents' shares in the mean, and a note: iterations taken and the length of the last step, radians.

    The mean lies in the span of the parents, so its coefficients follow from their dot products alone. A
    parent of weight 0 takes no part. Where every parent is zero the shares are zero.
    Raises Unmergeable if some parents are zero and others are not, if directions are opposite, or if the
    steps do not fall below `tolerance_rad` in `iterations`.
    """
    weights = numbers(options, "weights")
    dots = gram(statistics["dots"], len(weights))
    used = [place for place, weight in enumerate(weights) if weight > 0.0]
    if all(dots[place][place] == 0.0 for place in used):
        return {"shares": (0.0,) * len(weights)}, {"branch": "zero"}
    if any(dots[place][place] == 0.0 for place in used):
        raise Unmergeable(
            "some parents are all zeros and others are not: zeros have no direction. Use linear"
        )
    with localcontext(ARC):
        norms = {place: Decimal(dots[place][place]).sqrt() for place in used}
        cosines = [[Decimal(dots[i][j]) / (norms[i] * norms[j]) for j in used] for i in used]
        total = sum((Decimal(weights[place]) for place in used), Decimal(0))
        parts = [Decimal(weights[place]) / total for place in used]
        mean, taken, last = _mean(
            cosines, parts, number(options, "tolerance_rad"), int(number(options, "iterations"))
        )
        length = _dot(parts, [norms[place] for place in used])
        found = {place: float(c * length / norms[place]) for place, c in zip(used, mean, strict=True)}
    shares = tuple(float32(found.get(place, 0.0)) for place in range(len(weights)))
    return {"shares": shares}, {"iterations": taken, "step_rad": hex_float(float(last))}


def _mean(cosines: Matrix, weights: Vector, tolerance: float, most: int) -> tuple[Vector, int, Decimal]:
    """Coefficients of the unit mean over the unit parents, iterations taken, length of the last step.

    Each iteration averages the tangents towards the parents, and steps along it by the retraction
    (m + step) / |m + step|, whose fixed points are those of the exponential map.
    """
    mean = _unit(weights, cosines)
    last = Decimal(0)
    for taken in range(1, most + 1):
        along = _times(cosines, mean)
        pulls = [w * _stretch(x) for w, x in zip(weights, along, strict=True)]
        inward = _dot(pulls, along)
        step = [pull - inward * m for pull, m in zip(pulls, mean, strict=True)]
        last = max(_dot(step, _times(cosines, step)), Decimal(0)).sqrt()
        if last < Decimal(tolerance):
            return mean, taken, last
        mean = _unit([m + s for m, s in zip(mean, step, strict=True)], cosines)
    raise Unmergeable(
        f"the mean direction still moves by {float(last):.3g} rad after {most} iterations. "
        "Raise iterations or tolerance_rad"
    )


def _stretch(cosine: Decimal) -> Decimal:
    """angle / sin(angle) for an angle given by its cosine: the length of a tangent over that of its chord."""
    if angle_rad(Decimal(1), -cosine, Decimal(1)) < OPPOSITE_RAD:
        raise Unmergeable("a parent points away from the others' mean: no direction is nearest. Use linear")
    square = 1 - cosine * cosine
    return angle_rad(Decimal(1), cosine, Decimal(1)) / square.sqrt() if square > 0 else Decimal(1)


def _unit(vector: Vector, cosines: Matrix) -> Vector:
    square = _dot(vector, _times(cosines, vector))
    if square < OPPOSITE_RAD * OPPOSITE_RAD:
        raise Unmergeable("the parents' directions cancel: they have no mean direction. Use linear")
    length = square.sqrt()
    return [x / length for x in vector]


def _times(matrix: Matrix, vector: Vector) -> Vector:
    return [_dot(row, vector) for row in matrix]


def _dot(a: Sequence[Decimal], b: Sequence[Decimal]) -> Decimal:
    return sum((x * y for x, y in zip(a, b, strict=True)), Decimal(0))


METHOD = Method(
    name="karcher",
    version=1,
    source="Karcher 1977, CPAM 30(5)",
    space="weight",
    parameters=(
        Parameter(
            "weights", "per_parent", 1.0, "weight of each parent; their sum does not matter", 0.0, 10.0
        ),
        Parameter("tolerance_rad", "scalar", 1e-9, "stop when a step is shorter", low=1e-12, high=0.1),
        Parameter("iterations", "scalar", 100.0, "most iterations; more is an error", low=1.0, high=10000.0),
    ),
    coefficients=coefficients,
    block=slerp.block,
    settle=settle,
    check=some_weight,
    needs=(Need("dots"),),
    kernel="combine",
)
