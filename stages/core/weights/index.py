"""The index of a parent against its base, in one pass over both: what byte budgets choose by.

    index.build(Side("base", folder, sha256s), Side("parent 1", folder, sha256s), threads=2)

Both are read whole, once, and hashed as they are read: an index is as trustworthy as the manifests. Squares
of deltas are float64 trees as numerics.py has them, in numpy, so that the pass needs no torch.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from stages.core.errors import BadCheckpoint, Unmergeable
from stages.core.records.canonical import Json
from stages.core.weights import regions
from stages.core.weights.backend import Bytes
from stages.core.weights.fitting import FLOATS
from stages.core.weights.hashing import Hashing
from stages.core.weights.numerics import LEAF
from stages.core.weights.reader import Checkpoint, TensorSpec
from stages.core.weights.regions import Regions
from stages.core.weights.sums import fold, pairwise
from stages.core.weights.threads import Threads
from stages.core.weights.verified import VerifiedFile

Single: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
_Measured: TypeAlias = tuple[str, int, float, str]


@dataclass(frozen=True)
class Side:
    """One checkpoint. role: for messages. sha256: of its files, by name, from its manifest."""

    role: str
    folder: Path
    sha256: Mapping[str, str]

    def to_json(self) -> Json:
        """The tree that `side_from_json` reads, for the job of a worker."""
        return {"role": self.role, "folder": str(self.folder), "sha256": dict(self.sha256)}


def side_from_json(tree: Json) -> Side:
    """The side that `Side.to_json` wrote."""
    return Side(tree["role"], Path(tree["folder"]), tree["sha256"])


def build(
    base: Side,
    parent: Side,
    *,
    threads: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Regions]:
    """The index of `parent`, whose tensors have the names and shapes of those of `base`, in file order.

    on_progress: bytes of the parent gone through, and in all.
    Raises BadCheckpoint if a file is not what its manifest says, Unmergeable for a NaN or an infinity.
    """
    squares: dict[str, list[float]] = {}
    digests: dict[str, list[str]] = {}
    with Threads(threads) as crew, ExitStack() as stack:
        theirs = stack.enter_context(_Open(base, crew.hashing))
        ours = stack.enter_context(_Open(parent, crew.hashing))
        total, done = sum(spec.end - spec.start for spec in ours.tensors.values()), 0
        for name in ours.tensors:
            squares[name], digests[name] = [], []
        for name, size, square, digest in crew.ordered(_tasks(theirs, ours, parent.role)):
            squares[name].append(square)
            digests[name].append(digest)
            done += size
            if on_progress is not None:
                on_progress(done, total)
        theirs.finish()
        ours.finish()
    return {name: Regions(tuple(squares[name]), tuple(digests[name])) for name in squares}


def _tasks(theirs: "_Open", ours: "_Open", role: str) -> Iterator[Callable[[], _Measured]]:
    """What measures each region, whose bytes have been read."""
    for name, spec in ours.tensors.items():
        other = theirs.tensors[name]
        for here, there in zip(regions.spans(spec), regions.spans(other), strict=True):
            mine, base = ours.read(spec, here), theirs.read(other, there)
            yield partial(_measured, name, role, mine, base, (spec.dtype, other.dtype))


def _measured(name: str, role: str, mine: Bytes, base: Bytes, dtypes: tuple[str, str]) -> _Measured:
    """Name, bytes, squared norm of the delta and digest of one region. dtypes: of parent and base."""
    square = 0.0
    if dtypes[0] in FLOATS:
        with np.errstate(over="ignore", invalid="ignore"):  # refused in the next line
            delta = widened(mine, dtypes[0]) - widened(base, dtypes[1])
        if not np.isfinite(delta).all():
            raise Unmergeable(
                f"cannot index tensor {name!r}: {role} or the base holds a NaN or an infinity, or their "
                "difference is beyond float32. Repair that checkpoint or leave it out"
            )
        square = sum_of_squares(delta)
    return name, len(mine), square, hashlib.sha256(mine.data).hexdigest()


def widened(data: Bytes, dtype: str) -> Single:
    """Bytes of float32, bfloat16 or float16 numbers as float32, exactly."""
    if dtype == "bfloat16":
        found: Single = (data.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
        return found
    return data.view(np.dtype(dtype)).astype(np.float32)


def sum_of_squares(delta: Single) -> float:
    """Float64 sum of squares of a region, by number 4 of the contract: leaves of LEAF, then pairs."""
    wide = delta.astype(np.float64)
    leaves = [wide[start : start + LEAF] for start in range(0, len(wide), LEAF)]
    return pairwise([fold(leaf * leaf) for leaf in leaves])


class _Open:
    """The open files of one side, read by regions and hashed."""

    def __init__(self, side: Side, hashing: Hashing) -> None:
        checkpoint = Checkpoint(side.folder)
        missing = sorted(checkpoint.files.keys() - side.sha256.keys())
        if missing:
            raise BadCheckpoint("manifest-incomplete", f"the manifest of {side.role} lacks {missing}.")
        self.tensors: Mapping[str, TensorSpec] = checkpoint.tensors
        self._files: dict[str, VerifiedFile] = {}
        for name, file in checkpoint.files.items():
            held = [spec for spec in checkpoint.tensors.values() if spec.file == name]
            pieces = [span for spec in held for span in regions.spans(spec)]
            self._files[name] = VerifiedFile(
                side.folder / name, file, pieces, side.sha256[name], hashing=hashing
            )

    def read(self, spec: TensorSpec, span: tuple[int, int]) -> Bytes:
        """The bytes of one region."""
        return self._files[spec.file].read(*span)

    def finish(self) -> None:
        """Raise BadCheckpoint unless every file has the digest of its manifest."""
        for file in self._files.values():
            file.finish()

    def __enter__(self) -> "_Open":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()
