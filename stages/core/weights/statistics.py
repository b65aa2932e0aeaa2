"""What a method may ask about a whole tensor before its first block is merged.

Each statistic depends on the parents, the base and one argument, never on weights or scales.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from stages.core.errors import LabError
from stages.core.weights.arithmetic import leaf_sums, pairwise
from stages.core.weights.method import Need, Options, Slice, Statistics, number
from stages.core.weights.selection import Pass, kept_magnitudes


def measure(need: Need, options: Options, each: Pass, parents: int, elements: int) -> Statistics:
    """The named values of one statistic over one tensor of `elements` > 0.

    each: runs a function over the tensor's slices, in order, as often as it is called.
    kept_magnitude: `threshold` and `cut` per parent (selection.py) for the share options[argument].
    dots: `dots`, the upper triangle of the parents' float64 dot products, row by row.
    masked_l1: `l1` and `masked_l1` per parent, sums of |x| over all and over the kept elements.
    """
    if need.statistic == "dots":
        return {"dots": _sums(each, lambda given: _dots(given.tensors))}
    if need.statistic == "masked_l1":
        sums = _sums(each, _masked_l1)
        return {"l1": sums[:parents], "masked_l1": sums[parents:]}
    if need.argument is None:
        raise LabError(f"statistic {need.statistic} needs an argument")
    bounds = kept_magnitudes(each, kept_count(number(options, need.argument), elements), parents)
    return {"threshold": tuple(t for t, _ in bounds), "cut": tuple(float(cut) for _, cut in bounds)}


def kept_count(density: float, elements: int) -> int:
    """How many elements a density keeps: density * elements in float64, rounded down, and at least one."""
    return max(1, int(density * elements))


def _sums(each: Pass, leaves_of: Callable[[Slice], list[list[float]]]) -> tuple[float, ...]:
    """Tree sums of several quantities at once, from the leaf sums of each slice."""
    columns = zip(*each(leaves_of), strict=True)
    return tuple(pairwise([leaf for leaves in column for leaf in leaves]) for column in columns)


def _dots(tensors: Sequence[Tensor]) -> list[list[float]]:
    wide = [tensor.double() for tensor in tensors]
    return [leaf_sums(a * b) for i, a in enumerate(wide) for b in wide[i:]]


def _masked_l1(given: Slice) -> list[list[float]]:
    magnitudes = [tensor.abs().double() for tensor in given.tensors]
    masked = [x.where(kept, 0.0) for x, kept in zip(magnitudes, given.kept, strict=True)]
    return [leaf_sums(x) for x in magnitudes + masked]
