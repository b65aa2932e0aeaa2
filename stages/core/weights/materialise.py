"""A base with a LoRA adapter merged into it, as a checkpoint whose bytes are the same on every machine.

W + scaling · B·A in float64: products of A and B are exact, added in the order of the rank one at a time, the
sum scaled, W added, and the result rounded once, to nearest even, to W's own type. No BLAS, no fused
multiply-add, no block size takes part in any bit. The files have the base's headers: shapes, types and places
are the base's. PEFT works in the adapter's type and rounds the delta before the sum, so its last bit may
differ.
"""

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import Json, read_json
from stages.core.records.manifest import FileRecord
from stages.core.weights import header
from stages.core.weights.adapter import CONFIG, WEIGHTS, Change, LowRank, Whole, changes
from stages.core.weights.reader import Checkpoint, TensorSpec, fill, open_file

ARITHMETIC: Final = 1  # a change of bytes is a new number
BLOCK: Final = 1 << 18  # elements worked on together: 2 MiB of float64; no part of the result
COPY_BYTES: Final = 1 << 22
Wide: TypeAlias = npt.NDArray[np.float64]
Put: TypeAlias = Callable[[memoryview], None]
Grew: TypeAlias = Callable[[int], None]
NUMPY: Final = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}


def materialise(
    base: Path, adapter: Path, output: Path, grew: Grew = lambda _: None
) -> dict[str, FileRecord]:
    """Write the weights of `base` with `adapter` merged into them into the folder `output`; name → record.

    base: an artifact's folder. adapter: a folder with adapter_config.json and adapter_model.safetensors. Both
    are scanned, private copies. grew: told the bytes of each piece that was written. Memory: the adapter's
    largest pair in float64 and a few blocks. Raises BadCheckpoint as `adapter.changes`, and
    `adapter-not-finite`.
    """
    whole = Checkpoint(base)
    config: Json = read_json(adapter / CONFIG)
    with _Source(adapter / WEIGHTS) as source:
        delta = _Tensors(source)
        kind = read_json(base / "config.json").get("model_type")
        made = changes(config, delta.entries, whole.tensors, kind)
        return {name: _file(whole, name, made, delta, path=output / name, grew=grew) for name in whole.files}


def narrow(values: Wide, dtype: str) -> npt.NDArray[Any]:
    """float64 `values` rounded once to `dtype`, to nearest even; bfloat16 as its uint16 patterns.

    Raises BadCheckpoint (`adapter-not-finite`) for NaN, infinities, and what overflows.
    """
    with np.errstate(over="ignore"):
        rounded = _bfloat16(values) if dtype == "bfloat16" else values.astype(NUMPY[dtype])
    if not np.isfinite(widen(rounded, dtype)).all():
        raise BadCheckpoint(
            "adapter-not-finite",
            f"a value beyond {dtype}, or a NaN, comes of merging {WEIGHTS} into its base.",
        )
    return rounded


def widen(values: npt.NDArray[Any], dtype: str) -> Wide:
    """float64 copies, exact; bfloat16 from uint16 patterns."""
    if dtype == "bfloat16":
        values = (values.astype("<u4") << 16).view("<f4")
    return values.astype(np.float64)


def _bfloat16(values: Wide) -> npt.NDArray[np.uint16]:
    """By way of float32 rounded to odd: its low bit keeps that something was cut off, so that one rounding
    counts."""
    near = values.astype("<f4")
    back = near.astype(np.float64)
    bits = near.view("<u4")
    inexact = back != values
    toward_zero = bits - (inexact & (np.abs(back) > np.abs(values)))
    odd = toward_zero.astype("<u4") | inexact
    rounded = (odd + 0x7FFF + ((odd >> 16) & 1)) >> 16
    return np.where(np.isfinite(values), rounded, 0x7FC0).astype("<u2")


def _file(
    base: Checkpoint, name: str, made: Mapping[str, Change], delta: "_Tensors", *, path: Path, grew: Grew
) -> FileRecord:
    """Write one file of the base to `path` with its changed tensors replaced, hashed while it is written."""
    digest, size = sha256(), 0
    source = _Source(base.directory / name)
    with path.open("xb") as writer, source:

        def put(data: memoryview) -> None:
            nonlocal size
            digest.update(data)
            size += writer.write(data)
            grew(len(data))

        source.copy(0, base.files[name].head_bytes, put)
        held = [(key, spec) for key, spec in base.tensors.items() if spec.file == name]
        for key, spec in sorted(held, key=lambda one: one[1].start):
            match made.get(key):
                case LowRank() as change:
                    _add(source, spec, change.scaling, delta.factors(change), put)
                case Whole() as change:
                    _replace(spec, delta, change.name, put)
                case None:
                    source.copy(spec.start, spec.end, put)
        writer.flush()
        os.fsync(writer.fileno())
    return FileRecord(digest.hexdigest(), size)


def _add(source: "_Source", spec: TensorSpec, scaling: float, factors: tuple[Wide, Wide], put: Put) -> None:
    """One tensor of the base and its delta, some rows at a time."""
    left, right = factors
    rows, columns = spec.shape
    step = max(1, BLOCK // max(columns, 1))
    for first in range(0, rows, step):
        last = min(first + step, rows)
        held = source.numbers(spec.dtype, spec.start, first * columns, last * columns)
        values = _product(left[first:last], right)
        values *= scaling
        values += held.reshape(values.shape)
        put(_bytes(narrow(values, spec.dtype)))


def _replace(spec: TensorSpec, delta: "_Tensors", name: str, put: Put) -> None:
    for first in range(0, spec.elements, BLOCK):
        values = delta.flat(name, first, min(first + BLOCK, spec.elements))
        put(_bytes(narrow(values, spec.dtype)))


def _bytes(values: npt.NDArray[Any]) -> memoryview:
    """The memory of a contiguous array."""
    return values.reshape(-1).view(np.uint8).data


def _product(left: Wide, right: Wide) -> Wide:
    """left · right, added up in the order of the rank, elementwise: a library's product has no order to rely
    on."""
    total: Wide = left[:, 0, None] * right[0]
    term = np.empty_like(total)
    for k in range(1, right.shape[0]):
        np.multiply(left[:, k, None], right[k], out=term)
        total += term
    return total


class _Source:
    """A file that is read piece by piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = open_file(path)

    def __enter__(self) -> "_Source":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def copy(self, start: int, end: int, put: Put) -> None:
        """Bytes `start` to `end`, as they are."""
        for place in range(start, end, COPY_BYTES):
            put(self.bytes(place, min(COPY_BYTES, end - place)))

    def bytes(self, start: int, count: int) -> memoryview:
        """`count` bytes from `start`. Raises BadCheckpoint if the file ends before."""
        piece = memoryview(bytearray(count))
        fill(self._handle, piece, start, self.path)
        return piece

    def numbers(self, dtype: str, start: int, first: int, last: int) -> Wide:
        """Elements `first` to `last` of the tensor that begins at byte `start`, in float64."""
        size = header.ITEMSIZE[dtype]
        piece = self.bytes(start + first * size, (last - first) * size)
        return widen(np.frombuffer(piece, NUMPY[dtype]), dtype)


class _Tensors:
    """The adapter's tensors; entries: by name."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        size = source.path.stat().st_size
        length = header.length(bytes(source.bytes(0, min(8, size))), source.path.name, size)
        self.entries = header.parse(bytes(source.bytes(0, length)), source.path.name, size)

    def factors(self, change: LowRank) -> tuple[Wide, Wide]:
        """(rows, rank) and (rank, columns) whose product is the delta as the base's matrix lies."""
        a, b = (self._matrix(name) for name in (change.a, change.b))
        return (np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)) if change.transposed else (b, a)

    def flat(self, name: str, first: int, last: int) -> Wide:
        """Elements `first` to `last` of a tensor in float64."""
        entry = self.entries[name]
        return self._source.numbers(entry.dtype, entry.start, first, last)

    def _matrix(self, name: str) -> Wide:
        entry = self.entries[name]
        return self.flat(name, 0, entry.elements).reshape(entry.shape)
