"""What a method may ask about a whole tensor before its first block is merged.

Each statistic depends on the parents, the base and one argument, never on weights or scales.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from torch import Tensor

from stages.core.errors import LabError
from stages.core.weights.arithmetic import fold, leaves, pairwise
from stages.core.weights.method import Method, Need, Options, Slice, Statistics, per_parent
from stages.core.weights.selection import Pass, kept_magnitudes

T = TypeVar("T")
View: TypeAlias = Callable[[Slice, Options, Statistics], Sequence[Tensor]]
NONE_KEPT = (3.4028234663852886e38, 0)  # the greatest float32: no finite magnitude lies above it


def gather(method: Method, options: Options, each: Pass, parents: int, elements: int) -> Statistics:
    """The values of every statistic that the method needs of one tensor, in the order of its needs."""
    seen: dict[str, tuple[float, ...]] = {}
    for need in method.needed(options):
        given = each
        if need.of is not None:
            given = _view(need.of, options, dict(seen), each)
        found = measure(need, options, given, parents, elements)
        seen.update({need.label + name: values for name, values in found.items()})
    return seen


def _view(of: View, options: Options, seen: Statistics, each: Pass) -> Pass:
    """Passes over what `of` makes of each slice."""

    def derived(function: Callable[[Slice], T], stride: int = 1) -> Iterator[T]:
        return each(lambda given: function(replace(given, tensors=of(given, options, seen))), stride)

    return derived


def measure(need: Need, options: Options, each: Pass, parents: int, elements: int) -> Statistics:
    """The named values of one statistic over one tensor of `elements` > 0.

    each: runs a function over the tensor's slices, in order, as often as it is called.
    kept_magnitude: `threshold` and `cut` per parent (selection.py) for its share options[argument].
    dots: `dots`, the upper triangle of the parents' float64 dot products, row by row.
    masked_l1: `l1` and `masked_l1` per parent, sums of |x| over all and over the kept elements.
    l1, squares: `l1` or `squares` per parent, sums of |x| or of x^2.
    """
    if need.statistic == "squares":
        return {"squares": _sums(each, _squares)}
    if need.statistic == "l1":
        return {"l1": _sums(each, _l1)}
    if need.statistic == "dots":
        return {"dots": _sums(each, _dots)}
    if need.statistic == "masked_l1":
        sums = _sums(each, _masked_l1)
        return {"l1": sums[:parents], "masked_l1": sums[parents:]}
    keep = _counts(need, options, parents if need.of is None else 1, elements)
    bounds = [NONE_KEPT] * len(keep)
    if any(keep):
        some = kept_magnitudes(each, [max(count, 1) for count in keep])
        bounds = [bound if count else NONE_KEPT for bound, count in zip(some, keep, strict=True)]
    return {"threshold": tuple(t for t, _ in bounds), "cut": tuple(float(cut) for _, cut in bounds)}


def _counts(need: Need, options: Options, tensors: int, elements: int) -> list[int]:
    """How many elements of each tensor are kept."""
    if need.count is not None:
        return list(need.count(options, elements))
    if need.argument is None:
        raise LabError(f"statistic {need.statistic} needs an argument")
    return [kept_count(density, elements) for density in per_parent(options, need.argument, tensors)]


def kept_count(density: float, elements: int) -> int:
    """How many elements a density keeps: density * elements in float64, rounded down, and at least one."""
    return max(1, int(density * elements))


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


def _l1(given: Slice) -> list[list[float]]:
    """By leaves; by rows where slices are whole rows, which leaves would cut at places that blocks decide."""
    magnitudes = [tensor.abs() for tensor in given.tensors]
    if given.row > 1:
        return [_row_sums(magnitude, given.row) for magnitude in magnitudes]
    return [[fold(leaf) for leaf in leaves(magnitude)] for magnitude in magnitudes]


def _row_sums(tensor: Tensor, row: int) -> list[float]:
    """The float64 sum of each row: halves are added as in `fold`."""
    values = tensor.reshape(-1, row).double().numpy()
    while (width := values.shape[1]) > 1:
        half = 1 << (width - 1).bit_length() - 1
        lower = values[:, :half].copy()
        lower[:, : width - half] += values[:, half:]
        values = lower
    return [float(total) for total in values[:, 0]]


def _squares(given: Slice) -> list[list[float]]:
    return [[fold(leaf * leaf) for leaf in leaves(tensor)] for tensor in given.tensors]
