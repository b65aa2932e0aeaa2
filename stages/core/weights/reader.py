"""A checkpoint directory: which tensors lie where, told from headers alone.

One `model.safetensors`, or `model.safetensors.index.json` with its shards. Nothing else is ever opened: no
pickle, no symbolic link, no name that leaves the directory. Importing this module imports no torch.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import Json
from stages.core.records.files import sha256_bytes
from stages.core.weights import header

if TYPE_CHECKING:
    from torch import Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_INDEX_BYTES = 1 << 24
COMPARE_BYTES = 1 << 22
SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\.safetensors")


@dataclass(frozen=True)
class TensorSpec:
    """Where one tensor lies. dtype: 'float32', 'bfloat16' …; start and end: byte offsets in `file`."""

    dtype: str
    shape: tuple[int, ...]
    file: str
    start: int
    end: int

    @property
    def elements(self) -> int:
        """How many elements; 1 for a scalar."""
        return prod(self.shape)


@dataclass(frozen=True)
class FileSpec:
    """One file that a merge reads: its size, and the bytes and sha256 of its head.

    The head is the part that was parsed: a safetensors file's header, or the whole of an index.
    """

    bytes: int
    head_bytes: int
    head_sha256: str


class Checkpoint:
    """The tensors of one directory, by name, and the files that hold them.

    tensors: in the order of files and offsets. files: the index, if any, and every shard.
    Raises BadCheckpoint with a stable code for whatever is missing, malformed or ambiguous.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files: dict[str, FileSpec] = {}
        self.tensors: dict[str, TensorSpec] = {}
        single, index = (os.path.lexists(directory / name) for name in (SINGLE, INDEX))
        if single and index:
            _refuse("ambiguous", f"{directory} holds both {SINGLE} and {INDEX}. Remove one")
        if not single and not index:
            _refuse("no-weights", f"{directory} holds neither {SINGLE} nor {INDEX}")
        placed = self._read_index() if index else None
        for shard in [SINGLE] if placed is None else sorted(set(placed.values())):
            self._read_shard(shard)
        if placed is not None:
            self._check_index(placed)

    def read(self, name: str) -> "Tensor":
        """One whole tensor in its own dtype and shape. Its bytes are not checked against a manifest."""
        import torch

        spec = self.tensors[name]
        buffer = torch.empty(spec.end - spec.start, dtype=torch.uint8)
        handle = open_file(self.directory / spec.file)
        try:
            fill(handle, buffer.numpy().data, spec.start, self.directory / spec.file)
        finally:
            os.close(handle)
        return buffer.view(getattr(torch, spec.dtype)).reshape(spec.shape)

    def _read_index(self) -> dict[str, str]:
        path = self.directory / INDEX
        handle = open_file(path)
        try:
            size = os.fstat(handle).st_size
            if size > MAX_INDEX_BYTES:
                _refuse("index-size", f"{path} holds {size} bytes; the limit is {MAX_INDEX_BYTES}")
            text = bytearray(size)
            fill(handle, memoryview(text), 0, path)
        finally:
            os.close(handle)
        self.files[INDEX] = FileSpec(size, size, sha256_bytes(bytes(text)))
        tree: Json = header.tree(bytes(text), str(path), "index-json")
        placed = tree.get("weight_map")
        if not isinstance(placed, dict) or not placed or not all(isinstance(v, str) for v in placed.values()):
            _refuse("index-json", f"{path} has no weight_map from tensors to files")
        for shard in placed.values():
            if not SHARD_NAME.fullmatch(shard):
                _refuse("index-name", f"{path} names {shard[:80]!r}, no plain .safetensors name")
        return placed

    def _read_shard(self, shard: str) -> None:
        path = self.directory / shard
        handle = open_file(path)
        try:
            size = os.fstat(handle).st_size
            start = bytearray(min(8, size))
            fill(handle, memoryview(start), 0, path)
            head = bytearray(header.length(bytes(start), str(path), size))
            fill(handle, memoryview(head), 0, path)
        finally:
            os.close(handle)
        for entry in header.parse(bytes(head), str(path), size).values():
            if entry.name in self.tensors:
                other = self.tensors[entry.name].file
                _refuse("index-twice", f"tensor {entry.name!r} is in {other} and in {shard}")
            self.tensors[entry.name] = TensorSpec(entry.dtype, entry.shape, shard, entry.start, entry.end)
        self.files[shard] = FileSpec(size, len(head), sha256_bytes(bytes(head)))

    def _check_index(self, placed: Mapping[str, str]) -> None:
        wrong = [n for n, shard in placed.items() if n not in self.tensors or self.tensors[n].file != shard]
        wrong += [name for name in self.tensors if name not in placed]
        if wrong:
            listed = ", ".join(sorted(set(wrong)))
            _refuse("index-disagrees", f"{self.directory / INDEX} disagrees with its shards on {listed}")


def open_file(path: Path) -> int:
    """Read-only descriptor of a regular file. Raises BadCheckpoint if it is missing, a link, or no file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        _refuse("file-missing", f"cannot open {path}, or it is a link: {problem.strerror}")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        _refuse("not-a-file", f"{path} is no regular file")
    return handle


def fill(handle: int, view: memoryview, offset: int, path: Path) -> None:
    """Read exactly len(view) bytes at `offset` into `view`. Raises BadCheckpoint if the file ends before."""
    done = 0
    while done < len(view):
        got = os.preadv(handle, [view[done:]], offset + done)
        if got == 0:
            _refuse("file-short", f"{path} ended at byte {offset + done}: it was cut while it was read")
        done += got


def compare(a: Path, b: Path) -> list[str]:
    """A sentence for every tensor that differs between two checkpoint directories; [] if none does.

    Compares presence, dtype, shape and bytes, not which shard holds a tensor.
    """
    first, second = Checkpoint(a), Checkpoint(b)
    found = []
    for name in sorted(first.tensors.keys() | second.tensors.keys()):
        one, two = first.tensors.get(name), second.tensors.get(name)
        if one is None or two is None:
            found.append(f"{name}: only in {a if two is None else b}")
        elif (one.dtype, one.shape) != (two.dtype, two.shape):
            found.append(f"{name}: {one.dtype} {list(one.shape)} against {two.dtype} {list(two.shape)}")
        else:
            pieces = zip(_pieces(a, one), _pieces(b, two), strict=True)
            different = sum(_unequal(left, right) for left, right in pieces)
            found += [f"{name}: {different} of {one.end - one.start} bytes differ"] if different else []
    return found


def _unequal(left: bytes, right: bytes) -> int:
    return 0 if left == right else sum(x != y for x, y in zip(left, right, strict=True))


def _pieces(directory: Path, spec: TensorSpec) -> Iterator[bytes]:
    handle = open_file(directory / spec.file)
    try:
        for start in range(spec.start, spec.end, COMPARE_BYTES):
            piece = bytearray(min(COMPARE_BYTES, spec.end - start))
            fill(handle, memoryview(piece), start, directory / spec.file)
            yield bytes(piece)
    finally:
        os.close(handle)


def _refuse(code: str, message: str) -> NoReturn:
    raise BadCheckpoint(code, f"{message}.")
