"""Flatten the spectrum of the summed task vectors: iso_c, and iso_cts with directions of single tasks.

iso_c: the singular values of a matrix's summed task vectors are all replaced by their mean. iso_cts: the sum
gives the leading directions only (the common space); each parent gives its leading directions outside of
their left span; left and right sets are replaced by the nearest orthonormal ones, and all get the mean
of the singular values that the directions had. Other tensors: matrices.py.

Beyond the papers' code: weights, which multiply the task vectors before they are summed; and `spectrum`.
`all` takes min(m, n) directions, as that code does. Of a low-rank sum most of those are arbitrary vectors of
singular value zero, which get the mean as well, and pull it towards zero: so `nonzero`, the default, counts
and uses the others alone. On sums of full rank the two are one. A sum of zero gives zero.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.core.records.canonical import Json
from stages.core.weights import spectra
from stages.core.weights.method import Method, Options, Parameter, number
from stages.core.weights.methods import matrices

if TYPE_CHECKING:
    from torch import Tensor

SPECTRUM = Parameter(
    "spectrum",
    "choice",
    "nonzero",
    "singular values of the sum that count: nonzero, or all min(m, n) of them as in the papers' code",
    choices=("nonzero", "all"),
)


def merge_common(
    deltas: "Sequence[Tensor]", weights: Sequence[float], options: Options
) -> "tuple[Tensor, dict[str, Json]]":
    """iso_c's matrix, float64 [m, n]. deltas: float32 [m, n], one per weight other than 0; not all zero.

    Note: `rank`, how many directions the result has; branch `cancelled` where the sum is zero.
    """
    total = _sum(deltas, weights)
    if not bool(total.any()):
        return total, {"branch": "cancelled"}
    found = spectra.decomposed(total)
    used = _counted(found, options)
    mean = math.fsum(found.values[:used].tolist()) / used
    return (found.left[:, :used] * mean) @ found.right[:used], {"rank": used}


def merge_common_and_own(
    deltas: "Sequence[Tensor]", weights: Sequence[float], options: Options
) -> "tuple[Tensor, dict[str, Json]]":
    """iso_cts's matrix, float64 [m, n]. deltas: float32 [m, n], one per weight other than 0; not all zero.

    Note: `common`, directions of the sum; `own`, directions of each parent with a weight; `dependent`, left
    and right directions left out; branch `cancelled` where the sum is zero.
    """
    common = _common(deltas, weights, options)
    if common is None:
        return deltas[0].double() * 0.0, {"branch": "cancelled"}
    space, own = common
    lefts, values, rights = [], [], []
    for delta, weight in zip(deltas, weights, strict=True):
        part = _outside(delta.double() * weight, space, own, options)
        lefts.append(part.left)
        values.append(part.values)
        rights.append(part.right)
    counts: dict[str, Json] = {"common": len(space.values), "own": [len(part) for part in values]}
    spectrum = [*space.values.tolist(), *(value for part in values for value in part.tolist())]
    mean = math.fsum(spectrum) / len(spectrum)
    lefts.append(space.left)
    rights.append(space.right)
    del common, space  # large: the lists hold what is still needed of them
    left, lacking_left = spectra.whitened(spectra.joined(lefts, 1))
    right, lacking_right = spectra.whitened(spectra.joined(rights, 0))
    return (left * mean) @ right, {**counts, "dependent": [lacking_left, lacking_right]}


def divided(directions: int, parents: int, fraction: float) -> tuple[int, int]:
    """How many of the directions are common, and how many each parent has of its own.

    floor(directions * fraction) are common; the rest is shared out, each share rounded to nearest even, and
    what that leaves or lacks is made up by the common ones. Where they cannot, shares are rounded down.
    """
    own = min(round((directions - int(directions * fraction)) / parents), directions // parents)
    return directions - own * parents, own


def _sum(deltas: "Sequence[Tensor]", weights: Sequence[float]) -> "Tensor":
    total = deltas[0].double() * weights[0]
    for delta, weight in zip(deltas[1:], weights[1:], strict=True):
        total += delta.double() * weight
    return total


def _counted(found: spectra.Directions, options: Options) -> int:
    everything = options["spectrum"] == "all"
    return len(found.values) if everything else spectra.rank(found, number(options, "zero_below"))


def _common(
    deltas: "Sequence[Tensor]", weights: Sequence[float], options: Options
) -> tuple[spectra.Directions, int] | None:
    """The common space, and how many directions each parent has of its own; None if the sum is zero."""
    total = _sum(deltas, weights)
    if not bool(total.any()):
        return None
    found = spectra.decomposed(total)
    common, own = divided(_counted(found, options), len(deltas), number(options, "common_fraction"))
    return found.first(common), own


def _outside(delta: "Tensor", space: spectra.Directions, own: int, options: Options) -> spectra.Directions:
    """The first `own` directions of a task vector without its projection on the common left directions."""
    if own == 0:
        return space.first(0)
    length = spectra.frobenius(delta)
    delta -= space.left @ (space.left.mT @ delta)
    found = spectra.decomposed(delta)
    if options["spectrum"] == "nonzero":
        own = min(own, spectra.rank(found, number(options, "zero_below"), length))
    return found.first(own)


COMMON = Method(
    name="iso_c",
    version=1,
    source="arXiv 2502.04959",
    space="delta",
    parameters=(matrices.WEIGHTS, matrices.SCALE, SPECTRUM, matrices.ZERO_BELOW, matrices.SPECTRAL),
    coefficients=matrices.coefficients,
    block=matrices.by_spectrum(merge_common),
    settle=matrices.settle,
    check=matrices.check,
    whole=matrices.is_matrix,
)
COMMON_AND_OWN = Method(
    name="iso_cts",
    version=1,
    source="arXiv 2502.04959",
    space="delta",
    parameters=(
        matrices.WEIGHTS,
        matrices.SCALE,
        Parameter(
            "common_fraction", "scalar", 0.8, "share of the directions that the sum of all gives", high=1.0
        ),
        SPECTRUM,
        matrices.ZERO_BELOW,
        matrices.SPECTRAL,
    ),
    coefficients=matrices.coefficients,
    block=matrices.by_spectrum(merge_common_and_own),
    settle=matrices.settle,
    check=matrices.check,
    whole=matrices.is_matrix,
)
