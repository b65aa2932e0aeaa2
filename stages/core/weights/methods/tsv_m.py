"""Join the leading singular directions of the task vectors, each made orthogonal to the others' (TSV-Merge).

Of each of k parents the first floor(min(m, n) / k) directions of a matrix are kept, and at least one. Their
left vectors side by side are replaced by the nearest orthonormal set, so are the right ones, and the matrix
is put together again with the singular values as they were. Other tensors: matrices.py.

Beyond the paper: weights, which multiply the singular values; directions of singular value zero are left
out, since they are arbitrary and would be whitened among the others; so are directions on which parents
agree to the precision of float32 (spectra.whitened). Two equal parents give their own leading part back.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.core.records.canonical import Json
from stages.core.weights import spectra
from stages.core.weights.method import Method, Options, number
from stages.core.weights.methods import matrices

if TYPE_CHECKING:
    from torch import Tensor


def merge(
    deltas: "Sequence[Tensor]", weights: Sequence[float], options: Options
) -> "tuple[Tensor, dict[str, Json]]":
    """The merged matrix, float64 [m, n]. deltas: float32 [m, n], one per weight other than 0; not all zero.

    Note: `kept` directions of each parent with a weight (0: its task vector is zero); `least_one` where
    there are more parents than directions to share; `dependent` left and right directions left out.
    """
    share = min(deltas[0].shape) // len(deltas)
    lefts, values, rights = [], [], []
    for delta, weight in zip(deltas, weights, strict=True):
        part = _leading(delta, max(share, 1), number(options, "zero_below"))
        lefts.append(part.left)
        values.append(part.values * weight)
        rights.append(part.right)
    note: dict[str, Json] = {"kept": [len(part) for part in values]}
    left, lacking_left = spectra.whitened(spectra.joined(lefts, 1))
    left *= spectra.joined(values, 0)
    right, lacking_right = spectra.whitened(spectra.joined(rights, 0))
    note["dependent"] = [lacking_left, lacking_right]
    return left @ right, {**note, "least_one": True} if share == 0 else note


def _leading(delta: "Tensor", share: int, zero_below: float) -> spectra.Directions:
    found = spectra.decomposed(delta.double())
    return found.first(min(share, spectra.rank(found, zero_below)))


METHOD = Method(
    name="tsv_m",
    version=1,
    source="arXiv 2412.00081",
    space="delta",
    parameters=(matrices.WEIGHTS, matrices.SCALE, matrices.ZERO_BELOW, matrices.SPECTRAL),
    coefficients=matrices.coefficients,
    block=matrices.by_spectrum(merge),
    settle=matrices.settle,
    check=matrices.check,
    whole=matrices.is_matrix,
)
