"""What a method may ask about a whole tensor before its first block is merged.

Each statistic depends on the parents, the base and one argument, never on weights or scales.
"""

from collections.abc import Callable

from stages.core.errors import LabError
from stages.core.weights.arithmetic import leaves
from stages.core.weights.counting import Pass, Slices
from stages.core.weights.method import Need, Options, Slice, Statistics, number
from stages.core.weights.selection import kept_count, kept_magnitudes
from stages.core.weights.sums import fold, pairwise


def measure(need: Need, options: Options, each: Pass, parents: int, elements: int) -> Statistics:
    """The named values of one statistic over one tensor of `elements` > 0.

    each: runs a function over the tensor's slices, in order, as often as it is called.
    kept_magnitude: `threshold` and `cut` per parent (selection.py) for the share options[argument].
    dots: `dots`, the upper triangle of the parents' float64 dot products, row by row.
    masked_l1: `l1` and `masked_l1` per parent, sums of |x| over all and over the kept elements.
    """
    if need.statistic == "dots":
        return {"dots": _sums(each, _dots)}
    if need.statistic == "masked_l1":
        sums = _sums(each, _masked_l1)
        return {"l1": sums[:parents], "masked_l1": sums[parents:]}
    if need.argument is None:
        raise LabError(f"statistic {need.statistic} needs an argument")
    bounds = kept_magnitudes(Slices(each), kept_count(number(options, need.argument), elements), parents)
    return {"threshold": tuple(t for t, _ in bounds), "cut": tuple(float(cut) for _, cut in bounds)}


def _sums(each: Pass, folded: Callable[[Slice], list[list[float]]]) -> tuple[float, ...]:
    """Tree sums of several quantities at once; folded: leaf sums of each quantity in one slice."""
    columns = zip(*each(folded), strict=True)
    return tuple(pairwise([leaf for found in column for leaf in found]) for column in columns)


def _dots(given: Slice) -> list[list[float]]:
    wide = [leaves(tensor) for tensor in given.tensors]
    pairs = [(a, b) for i, a in enumerate(wide) for b in wide[i:]]
    return [[fold(x * y) for x, y in zip(a, b, strict=True)] for a, b in pairs]


def _masked_l1(given: Slice) -> list[list[float]]:
    whole = [tensor.abs() for tensor in given.tensors]
    masked = [magnitude * kept for magnitude, kept in zip(whole, given.kept, strict=True)]
    return [[fold(leaf) for leaf in leaves(magnitude)] for magnitude in whole + masked]
