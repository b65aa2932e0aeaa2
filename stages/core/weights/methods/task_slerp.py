"""The base plus the point on the arc between two task vectors, each tensor flattened to one vector."""

from decimal import Decimal

from stages.core.errors import Unmergeable
from stages.core.records.canonical import Json, hex_float
from stages.core.weights.method import Method, Need, Options, Parameter, Statistics, number, numbers
from stages.core.weights.methods import slerp
from stages.core.weights.numerics import angle_rad, float32


def coefficients(options: Options) -> Options:
    """`scale` in float32 beside the rest as given: the shares depend on each tensor's angle (`settle`)."""
    return {**options, "scale": float32(number(options, "scale"))}


def settle(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    """The task vectors' shares in the point at fraction t of their arc, times `scale`; the branch is noted.

    As slerp, except: where one task vector alone is zero (a tensor that one parent left frozen) the chord is
    taken, t of the other; and where they are opposite, which half of all one-element tensors are, `opposite`
    decides. Raises Unmergeable there if it is `refuse`.
    """
    aa, ab, bb = statistics["dots"]
    t = number(options, "t")
    chord: Options = {"shares": (float32(1.0 - t), float32(t))}
    if (aa == 0.0) != (bb == 0.0):
        return _scaled(chord, options), {"branch": "chord", "zero": "first" if aa == 0.0 else "second"}
    opposite = aa > 0.0 and angle_rad(aa, -ab, bb) < Decimal(number(options, "chord_below_rad"))
    if opposite and options["opposite"] == "chord":
        return _scaled(chord, options), {
            "branch": "chord",
            "angle_rad": hex_float(float(angle_rad(aa, ab, bb))),
        }
    if opposite:
        raise Unmergeable(
            "the task vectors point in opposite directions: no arc is the shortest. "
            "Set opposite: chord, or use task_arithmetic"
        )
    settled, note = slerp.settle(options, statistics)
    return _scaled(settled, options), note


def _scaled(settled: Options, options: Options) -> Options:
    """The shares times `scale`, rounded once more to float32."""
    scale = number(options, "scale")
    return {"shares": tuple(float32(share * scale) for share in numbers(settled, "shares"))}


METHOD = Method(
    name="task_slerp",
    version=1,
    source="Shoemake 1985, SIGGRAPH 19(3)",
    space="delta",
    parameters=(
        *slerp.METHOD.parameters,
        Parameter(
            "opposite",
            "choice",
            "refuse",
            "where the task vectors are antiparallel: refuse, or take the chord",
            choices=("refuse", "chord"),
        ),
        Parameter("scale", "scalar", 1.0, "lambda: factor of the merged task vector", low=-10.0, high=10.0),
    ),
    coefficients=coefficients,
    block=slerp.block,
    settle=settle,
    needs=(Need("dots"),),
    parents=(2, 2),
    kernel="combine",
)
