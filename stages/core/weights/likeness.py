"""How far checkpoints of one shape lie from each other, told from their weights in one pass over all of them.

    found = measure([Side("base", folder, sha256s), Side("a", …), Side("b", …)])

Every file is hashed as it is read. Numbers are float64 trees of one shape (number 4 of the contract) and
counts, so they are the same on any machine. The first side is the reference: the base, or else the first
parent. Torch is not imported: eligibility asks for this before anything is merged. Memory is bounded by a
block of REGION float64 entries for every pair of sides, whatever the size of the models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations, combinations_with_replacement
from typing import Any, Final, TypeAlias

import numpy as np

from stages.core.errors import BadCheckpoint
from stages.core.weights.fitting import FLOATS
from stages.core.weights.index import Side, Single, widened
from stages.core.weights.numerics import REGION
from stages.core.weights.reader import Checkpoint, TensorSpec
from stages.core.weights.sums import Wide, pairwise
from stages.core.weights.verified import VerifiedFile

QUANTILES: Final = (0.5, 0.9, 0.99, 0.999, 1.0)
BIN_BITS: Final = 16  # low bits of a float32 that a histogram drops: bins 1/128 of their value wide
BINS: Final = 1 << 31 - BIN_BITS
LARGEST: Final = np.float32(2.0**126)  # of a weight, a quarter of the largest float32
Progress: TypeAlias = Callable[[int, int], None]
Counts: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@dataclass
class Sums:
    """One matrix by its rows or by its columns: dot products of the reference with itself (`own`), of each
    other side with the reference (`across`) and with itself (`theirs`). float64 [units], a list for each
    side.
    """

    own: Wide
    across: list[Wide]
    theirs: list[Wide]


@dataclass
class Compared:
    """One tensor. elements: how many. gram: dot products of all sides, the upper triangle row by row.

    differing: entries unlike the reference's, for each other side. signs: for each pair of other sides, in
    how many entries both moved, and in how many of these in one direction. rows: of a matrix. columns: of a
    matrix, or the entries of a vector.
    """

    elements: int
    gram: list[float]
    differing: list[int]
    signs: list[tuple[int, int]]
    rows: Sums | None = None
    columns: Sums | None = None


@dataclass
class Likeness:
    """What `measure` found. histograms: of |delta|, for each other side. not_finite: (role, tensor)."""

    tensors: dict[str, Compared]
    histograms: list[Counts]
    not_finite: list[tuple[str, str]] = field(default_factory=list)

    def quantiles(self, side: int) -> dict[str, float]:
        """Share → the value that this share of |delta| does not exceed, rounded up by less than 1/128."""
        counts = self.histograms[side]
        below, total = np.cumsum(counts), int(counts.sum())
        if total == 0:
            return {f"{share:g}": 0.0 for share in QUANTILES}
        places = [int(np.searchsorted(below, max(1, int(share * total)))) for share in QUANTILES]
        edges = np.array([place + 1 << BIN_BITS if place else 0 for place in places], np.uint32)
        return {
            f"{share:g}": float(edge) for share, edge in zip(QUANTILES, edges.view(np.float32), strict=True)
        }


def measure(sides: Sequence[Side], on_progress: Progress | None = None) -> Likeness:
    """Compare checkpoints whose tensors have one set of names and shapes; only those of a float type count.

    on_progress: tensors compared so far, and in all.
    Raises BadCheckpoint if a file is not what its manifest says, or if names or shapes differ.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(_Open(side)) for side in sides]
        shapes = [{name: spec.shape for name, spec in one.tensors.items()} for one in opened]
        for side, other in zip(sides, shapes, strict=True):
            if other != shapes[0]:
                raise BadCheckpoint("shapes-differ", f"{side.role} has other tensors than {sides[0].role}.")
        found = Likeness({}, [np.zeros(BINS, np.int64) for _ in sides[1:]])
        for done, name in enumerate(opened[0].tensors, start=1):
            if all(one.tensors[name].dtype in FLOATS for one in opened):
                found.tensors[name] = _compare(name, opened, found)
            if on_progress is not None:
                on_progress(done, len(opened[0].tensors))
        for one in opened:
            one.finish()
    return found


def gram_of(sums: Sequence[Compared], sides: int) -> Wide:
    """Dot products of all sides over several tensors, float64 [sides, sides]."""
    full = np.zeros((sides, sides))
    for place, (i, j) in enumerate(combinations_with_replacement(range(sides), 2)):
        full[i, j] = full[j, i] = pairwise([one.gram[place] for one in sums])
    return full


def fold_along(values: Wide, axis: int) -> Wide:
    """Sums along an axis of a matrix, the upper half added to the lower half until one is left."""
    count = values.shape[axis]
    while count > 1:
        half = 1 << (count - 1).bit_length() - 1
        low, high = (values[:half], values[half:]) if axis == 0 else (values[:, :half], values[:, half:])
        if count == 2 * half:
            values = low + high
        else:
            values = low.copy()
            into = values[: count - half] if axis == 0 else values[:, : count - half]
            into += high
        count = half
    total: Wide = values.sum(axis)  # of one, or of none
    return total


def _compare(name: str, opened: Sequence["_Open"], found: Likeness) -> Compared:
    """One tensor, block by block: whole rows of a matrix, REGION entries of anything else."""
    spec, others = opened[0].tensors[name], len(opened) - 1
    pairs = list(combinations_with_replacement(range(len(opened)), 2))
    compared = Compared(spec.elements, [], [0] * others, [(0, 0)] * (others * (others - 1) // 2))
    entries = len(spec.shape) == 2 or (len(spec.shape) == 1 and spec.elements <= REGION)
    rows: list[list[Wide]] = [[] for _ in pairs]
    columns: list[Wide] = []
    for block in range(len(blocks(spec))):
        singles = [_finite(name, one, one.read(name, block), found) for one in opened]
        _count(singles, compared, found)
        wide = [single.astype(np.float64) for single in singles]
        products = [wide[i] * wide[j] for i, j in pairs]
        across = [fold_along(product, 0) for product in products] if entries else []
        columns = across if block == 0 else [old + new for old, new in zip(columns, across, strict=True)]
        for pieces, product in zip(rows, products, strict=True):
            pieces.append(fold_along(product, 1))
    whole = [np.concatenate(pieces) if pieces else np.zeros(0) for pieces in rows]
    compared.gram = [pairwise(sums.tolist()) for sums in whole]
    compared.rows = _sums(pairs, whole, others) if len(spec.shape) == 2 else None
    compared.columns = _sums(pairs, columns, others) if columns else None
    return compared


def _sums(pairs: Sequence[tuple[int, int]], products: Sequence[Wide], others: int) -> Sums:
    of, sides = dict(zip(pairs, products, strict=True)), range(1, others + 1)
    return Sums(of[0, 0], [of[0, side] for side in sides], [of[side, side] for side in sides])


def _finite(name: str, side: "_Open", values: Single, found: Likeness) -> Single:
    """The block with zeros for what is not finite, which is remembered: such a parent is refused anyway.

    So is what is so large that a difference of two might overflow.
    """
    good = np.abs(values) < LARGEST  # false for a NaN
    if good.all():
        return values
    if (side.role, name) not in found.not_finite:
        found.not_finite.append((side.role, name))
    return np.where(good, values, np.float32(0))


def _count(singles: Sequence[Single], compared: Compared, found: Likeness) -> None:
    deltas = [single - singles[0] for single in singles[1:]]
    for place, delta in enumerate(deltas):
        compared.differing[place] += int(np.count_nonzero(delta))
        bins = np.abs(delta).ravel().view(np.uint32) >> np.uint32(BIN_BITS)
        found.histograms[place] += np.bincount(bins, minlength=BINS)
    for place, (one, other) in enumerate(combinations(deltas, 2)):
        both = (one != 0) & (other != 0)
        moved, alike = compared.signs[place]
        agree = int(np.count_nonzero(both & ((one > 0) == (other > 0))))
        compared.signs[place] = moved + int(np.count_nonzero(both)), alike + agree


def blocks(spec: TensorSpec) -> list[tuple[int, int, int]]:
    """(start, end) in bytes of the file, and the row length, of every block of a tensor.

    A matrix is cut into whole rows of REGION entries together, at least one; anything else into REGION
    entries.
    """
    if not spec.elements:
        return []
    size = (spec.end - spec.start) // spec.elements
    row = spec.shape[1] if len(spec.shape) == 2 else min(REGION, spec.elements)
    step = row * max(1, REGION // row) * size if len(spec.shape) == 2 else REGION * size
    ends = [(start, min(spec.end, start + step)) for start in range(spec.start, spec.end, step)]
    return [(start, end, min(row, (end - start) // size)) for start, end in ends]


class _Open:
    """The open files of one side, read block by block and hashed."""

    def __init__(self, side: Side) -> None:
        self.role = side.role
        checkpoint = Checkpoint(side.folder)
        self.tensors: Mapping[str, TensorSpec] = checkpoint.tensors
        self._blocks = {name: blocks(spec) for name, spec in checkpoint.tensors.items()}
        if lacking := sorted(checkpoint.files.keys() - side.sha256.keys()):
            raise BadCheckpoint("manifest-incomplete", f"the manifest of {side.role} lacks {lacking}.")
        self._files: dict[str, VerifiedFile] = {}
        for name, file in checkpoint.files.items():
            pieces = list(self._pieces(name))
            self._files[name] = VerifiedFile(side.folder / name, file, pieces, side.sha256[name])

    def read(self, name: str, block: int) -> Single:
        """One block of a tensor as float32 [rows, row length]."""
        start, end, row = self._blocks[name][block]
        spec = self.tensors[name]
        return widened(self._files[spec.file].read(start, end), spec.dtype).reshape(-1, row)

    def finish(self) -> None:
        """Raise BadCheckpoint unless every file has the digest of its manifest."""
        for file in self._files.values():
            file.finish()

    def _pieces(self, file: str) -> Iterator[tuple[int, int]]:
        for name, spec in self.tensors.items():
            if spec.file == file:
                yield from ((start, end) for start, end, _ in self._blocks[name])

    def __enter__(self) -> "_Open":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()
