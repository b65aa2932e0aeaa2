"""Point on the arc between two parents, each tensor flattened to one vector."""

from decimal import Decimal
from typing import TYPE_CHECKING

from stages.core.errors import Unmergeable
from stages.core.records.canonical import Json, hex_float
from stages.core.weights.method import Method, Need, Options, Parameter, Slice, Statistics, number, numbers
from stages.core.weights.methods.linear import weighted_sum
from stages.core.weights.numerics import angle_rad, arc_shares, float32

if TYPE_CHECKING:
    from torch import Tensor


def coefficients(options: Options) -> Options:
    """`t` and `chord_below_rad` as given: the shares depend on each tensor's angle (`settle`)."""
    return dict(options)


def settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """The parents' shares in the point at fraction t of the arc, and the branch taken.

    The angle comes from float64 dot products: float32 arccos cannot resolve angles under 3.5e-4 rad. Under
    `chord_below_rad` the chord is taken, 1-t and t; so it is where both tensors are zero. At the default of
    1e-4 rad the two differ by less than 2e-9 of a weight.
    Raises Unmergeable for antiparallel tensors, within the same angle of pi, and if one alone is zero.
    """
    aa, ab, bb = statistics["dots"]
    t, limit = number(options, "t"), Decimal(number(options, "chord_below_rad"))
    chord = (float32(1.0 - t), float32(t))
    if aa == 0.0 and bb == 0.0:
        return {"shares": chord}, {"branch": "zero"}
    if aa == 0.0 or bb == 0.0:
        raise Unmergeable("one parent is all zeros and the other is not: no arc joins them. Use linear")
    angle = angle_rad(aa, ab, bb)
    if angle_rad(aa, -ab, bb) < limit:
        raise Unmergeable("the parents point in opposite directions: no arc is the shortest. Use linear")
    note = {"angle_rad": hex_float(float(angle)), "branch": "chord" if angle < limit else "arc"}
    return {"shares": chord if angle < limit else arc_shares(angle, t)}, note


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The weighted sum of the two slices under the settled shares."""
    del statistics
    return weighted_sum(given.tensors, numbers(options, "shares"))


METHOD = Method(
    name="slerp",
    version=1,
    source="Shoemake 1985, SIGGRAPH 19(3)",
    space="weight",
    parameters=(
        Parameter("t", "scalar", 0.5, "fraction of the arc: 0 is the first parent, 1 the second", high=1.0),
        Parameter("chord_below_rad", "scalar", 1e-4, "angle under which the chord is taken", 1e-7, 0.1),
    ),
    coefficients=coefficients,
    block=block,
    settle=settle,
    needs=(Need("dots"),),
    parents=(2, 2),
    kernel="combine",
)
