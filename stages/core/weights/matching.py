"""Where units of a parent that strayed lie in its base: the evidence that it was reordered.

Whether units strayed is decided by units.py, from bytes that were hashed; this only explains it, and reads
the files once more.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from scipy.optimize import linear_sum_assignment

from stages.core.weights.index import Single, widened
from stages.core.weights.likeness import Likeness, blocks
from stages.core.weights.reader import Checkpoint, TensorSpec, fill, open_file
from stages.core.weights.sums import Wide
from stages.core.weights.units import EPSILON, Strayed

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

SAMPLE: Final = 64  # strayed units looked for; each is held against every unit of the base
GRID: Final = 256.0  # a unit's entries are rounded to 1/GRID of their root mean square ...
CLIP: Final = 4096.0  # ... and cut off here: whole numbers whose products sum up exactly in float64


@dataclass(frozen=True)
class Matched:
    """One strayed unit of the parent, the unit of the base that the assignment gives it, and their cosine."""

    unit: int
    base: int
    cosine: float


def matched(found: Likeness, side: int, lost: Strayed, base: Path, parent: Path) -> list[Matched]:
    """The best assignment of up to SAMPLE strayed units, evenly spread, to the units of the base.

    By the greatest sum of |cosine|: a unit may have changed its sign with its partner. side: of the parent,
    counted from 0; base, parent: folders. Source of the assignment: Kuhn 1955, as scipy codes it.
    """
    step = max(1, len(lost.lost) // SAMPLE)
    chosen: Numbers = np.array(lost.lost[::step][:SAMPLE], dtype=np.int64)
    if not len(chosen):
        return []
    cosines = _cosines(found, side, lost, chosen, (base, parent))
    rows, columns = linear_sum_assignment(-np.abs(cosines))
    return [
        Matched(int(chosen[row]), int(column), float(cosines[row, column]))
        for row, column in zip(rows, columns, strict=True)
    ]


def _cosines(found: Likeness, side: int, lost: Strayed, chosen: Numbers, folders: tuple[Path, Path]) -> Wide:
    """Cosine of each chosen unit of the parent with each of the base, float64 [chosen, units].

    Exact for the rounded units, so that the assignment is the same whatever BLAS multiplies them.
    """
    tensor = found.tensors[lost.tensor]
    sums = tensor.rows if lost.axis == "rows" else tensor.columns
    if sums is None:
        return np.zeros((len(chosen), 0))
    length = tensor.elements // len(sums.own)
    base, parent = (_scale(norms, length) for norms in (sums.own, sums.theirs[side]))
    total = np.zeros((len(chosen), len(sums.own)))
    if lost.axis == "columns":
        for (_, theirs), (_, mine) in zip(*(_read(one, lost.tensor) for one in folders), strict=True):
            total += _rounded(mine[:, chosen], parent[chosen]).T @ _rounded(theirs, base)
    else:
        mine = np.concatenate(list(_taken(folders[1], lost.tensor, chosen, parent)))
        for first, theirs in _read(folders[0], lost.tensor):
            last = first + len(theirs)
            total[:, first:last] = mine @ _rounded(theirs, base[first:last, None]).T
    return total / (length * GRID * GRID)


def _taken(folder: Path, name: str, chosen: Numbers, scale: Wide) -> Iterator[Wide]:
    """The chosen rows of a matrix, rounded, in ascending order."""
    for first, block in _read(folder, name):
        here = chosen[(chosen >= first) & (chosen < first + len(block))]
        yield _rounded(block[here - first], scale[here, None])


def _scale(squares: Wide, length: int) -> Wide:
    """What to multiply each unit by, so that its root mean square is GRID; 0.0 for a unit of zeros."""
    safe = np.where(squares > EPSILON, squares, 1.0)
    return np.where(squares > EPSILON, GRID * np.sqrt(length / safe), 0.0)


def _rounded(values: Single, scale: Wide) -> Wide:
    return np.clip(np.rint(values.astype(np.float64) * scale), -CLIP, CLIP)


def _read(folder: Path, name: str) -> Iterator[tuple[int, Single]]:
    """First row and float32 rows of every block of a matrix; zeros for what is not finite."""
    spec: TensorSpec = Checkpoint(folder).tensors[name]
    handle, first = open_file(folder / spec.file), 0
    try:
        for start, end, row in blocks(spec):
            data = np.empty(end - start, np.uint8)
            fill(handle, data.data, start, folder / spec.file)
            values = widened(data, spec.dtype).reshape(-1, row)
            yield first, np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
            first += len(values)
    finally:
        os.close(handle)
