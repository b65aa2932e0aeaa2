"""What a merge method declares about itself, and what its block function is given.

A method is one file with one `METHOD`. It names its parameters, the statistics it needs of each tensor, and
one pure function from equal slices of the parents to a slice of the result. Nothing here imports torch:
methods use tensor methods and operators only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from stages.core.records.canonical import Json
from stages.core.records.recipe import Rules, Value

if TYPE_CHECKING:
    from torch import Tensor

Options: TypeAlias = Mapping[str, Value]
Statistics: TypeAlias = Mapping[str, tuple[float, ...]]
Space: TypeAlias = Literal["weight", "delta"]
Route: TypeAlias = Literal["every_parent", "one_parent", "layer_path"]
WHOLE = "whole"  # a coefficient of methods that may want a tensor whole: whether they get this one so


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    kind: `scalar` a number; `per_parent` one number for every parent, or a list with one for each;
    `one_or_each` the same, but one number stays one number in the recipe, and a list of equal numbers becomes
    it (parameters that were scalars once, so that ids hold); `choice` one of `choices`; `flag` true or false;
    `parent` the place of one parent, counted from 1; `text` whatever `read` understands.
    low and high: legal range, both ends included.
    read: a text and the number of parents to the text that a recipe keeps. Raises BadRequest.
    late: added to a method that was in use: a recipe leaves it out where it holds its default, so that older
    ids stand.
    """

    name: str
    kind: Literal["scalar", "per_parent", "one_or_each", "choice", "flag", "parent", "text"]
    default: float | bool | str
    meaning: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    read: Callable[[str, int], str] | None = None
    late: bool = False


@dataclass(frozen=True)
class Slice:
    """Elements start … start+n of one tensor, flattened in row-major order.

    tensors: float32 [n], one per parent in listed order (per tensor read, for a method with another route):
    weights, or deltas for a delta method.
    kept: float32 [n] of ones (kept) and zeros (dropped), one per parent, for methods with a mask; else empty.
    draws: float32 [n] of whole numbers 0 … 65535, one per parent, for methods with draws; else empty.
    row: length of the tensor's last dimension for methods by rows (n and start are multiples of it); else 1.
    shape: that of the tensor where it is given whole (start is 0, n its elements); else ().
    """

    tensors: "Sequence[Tensor]"
    kept: "Sequence[Tensor]"
    start: int
    draws: "Sequence[Tensor]" = ()
    row: int = 1
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Need:
    """A statistic of one tensor that must be known before its first block is merged.

    statistic: `kept_magnitude` (argument: the density parameter), `dots`, `masked_l1`, `l1`, or `squares`.
    when: (parameter, choice) that must hold for it to be needed; None is always.
    label: stands before the names of its values, where a method takes one statistic twice.
    count: for kept_magnitude, in place of the argument, how many of so many elements each parent keeps, one
    number a parent; 0 is allowed.
    of: what is measured in place of the parents, elementwise (kept_magnitude: one tensor), given the values
    of the needs before it. Such a statistic belongs to the method: it cannot be shared between methods.
    """

    statistic: Literal["kept_magnitude", "dots", "masked_l1", "l1", "squares"]
    argument: str | None = None
    when: tuple[str, str] | None = None
    label: str = ""
    count: Callable[[Options, int], Sequence[int]] | None = None
    of: "Callable[[Slice, Options, Statistics], Sequence[Tensor]] | None" = None


def _nothing_wrong(options: Options) -> list[str]:
    del options
    return []


def _unchanged(options: Options, statistics: Statistics) -> tuple[Options, Json]:
    del statistics
    return options, None


@dataclass(frozen=True)
class Method:
    """A merge method: its declaration, and up to four pure functions.

    coefficients: resolved parameters to the numbers that the plan shows, rounded to float32.
    settle: those numbers and one tensor's statistics to the final numbers, and a note for the lineage
    (None: nothing to note). block: a slice and the final numbers to the slice of the result, float32 [n]
    (a delta for a delta method). check: sentences on parameters that are wrong together.
    mask: name of the drop parameter, if random masks are wanted. draws: whether their draws are wanted.
    rows: whether slices must be whole rows of the last dimension. parents: least and greatest number.
    kernel: the compiled coding of `block` (kernels/), if there is one: `combine` where it is the sum of the
    masked slices times the settled `shares`, `consensus` where it is ties.consensus of the trimmed or masked
    deltas. Never needed: a method is its plain coding.
    route: which tensors an output tensor is made of (routes.py): the one of its name in every parent, or one
    tensor of one parent. routing: the parameters that decide this; they reach no other function.
    whole: whether a tensor is given whole, from the parameters, its name and its shape; the plan shows the
    answer as the coefficient `whole`. Where it is, `block` gives a note for the lineage beside the result.
    gain: for delta methods that may leave parts of parents unread (`read_bytes`), from the coefficients of a
    tensor: how far at most, in L2, the merged delta moves when a parent's delta moves by one, for each parent
    (the Lipschitz constant of `block`). Only where `block` looks at one element at a time, needs no
    statistics, and jumps nowhere: an elected sign or a rank that tips over has no such bound.
    """

    name: str
    version: int
    source: str
    space: Space
    parameters: tuple[Parameter, ...]
    coefficients: Callable[[Options], Options]
    block: "Callable[[Slice, Options, Statistics], Tensor | tuple[Tensor, Json]]"
    settle: Callable[[Options, Statistics], tuple[Options, Json]] = _unchanged
    check: Callable[[Options], list[str]] = _nothing_wrong
    needs: tuple[Need, ...] = ()
    mask: str | None = None
    draws: bool = False
    rows: bool = False
    whole: Callable[[Options, str, tuple[int, ...]], bool] | None = None
    parents: tuple[int, int] = (2, 64)
    kernel: Literal["combine", "consensus"] | None = None
    route: Route = "every_parent"
    routing: tuple[str, ...] = ()
    gain: Callable[[Options], tuple[float, ...]] | None = None

    @property
    def random(self) -> bool:
        """Whether the recipe's seed decides bytes."""
        return self.draws or self.mask is not None

    def needed(self, options: Options) -> tuple[Need, ...]:
        """The statistics that these options call for."""
        return tuple(n for n in self.needs if n.when is None or options[n.when[0]] == n.when[1])


def number(options: Options, name: str) -> float:
    """The scalar parameter `name`. Raises TypeError if it is of another kind."""
    value = options[name]
    if isinstance(value, bool | str | tuple | Rules):
        raise TypeError(f"{name} is no number: {value!r}")
    return float(value)


def numbers(options: Options, name: str) -> tuple[float, ...]:
    """The per-parent parameter `name`, one number per parent. Raises TypeError if it is of another kind."""
    value = options[name]
    if not isinstance(value, tuple):
        raise TypeError(f"{name} is no list of numbers: {value!r}")
    return value


def per_parent(options: Options, name: str, parents: int) -> tuple[float, ...]:
    """The `one_or_each` parameter `name`, one number per parent. Raises TypeError if it is no number."""
    value = options[name]
    return value if isinstance(value, tuple) else (number(options, name),) * parents


def gram(dots: Sequence[float], parents: int) -> list[list[float]]:
    """The symmetric matrix of dot products, parents x parents, from its upper triangle row by row."""
    starts = [place * parents - place * (place - 1) // 2 for place in range(parents)]
    places = range(parents)
    return [[dots[starts[min(i, j)] + abs(i - j)] for j in places] for i in places]
