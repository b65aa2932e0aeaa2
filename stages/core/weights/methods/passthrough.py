"""Each tensor from one parent, as it is or scaled: nothing is averaged."""

from typing import TYPE_CHECKING

from stages.core.weights.method import Method, Options, Parameter, Slice, Statistics, number
from stages.core.weights.numerics import float32

if TYPE_CHECKING:
    from torch import Tensor

SCALE = Parameter("scale", "scalar", 1.0, "factor of the tensor; 1 leaves its bytes", low=-10.0, high=10.0)


def coefficients(options: Options) -> Options:
    """`scale`, rounded once to float32."""
    return {"scale": float32(number(options, "scale"))}


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The one slice times its scale. At 1 a tensor that keeps its type keeps its bytes."""
    del statistics
    return given.tensors[0] * number(options, "scale")


METHOD = Method(
    name="passthrough",
    version=1,
    source="arXiv 2403.13257",
    space="weight",
    parameters=(
        Parameter("donor", "parent", 1.0, "the parent that gives the tensor", low=1.0, high=64.0),
        SCALE,
    ),
    coefficients=coefficients,
    block=block,
    route="one_parent",
    routing=("donor",),
    parents=(1, 64),
)
