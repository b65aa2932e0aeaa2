"""A checkpoint directory: which tensors lie where, told from headers alone.

One `model.safetensors`, or `model.safetensors.index.json` with its shards. Nothing else is ever opened: no
pickle, no symbolic link, no name that leaves the directory. Importing this module imports no torch.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import Json
from stages.core.records.files import sha256_bytes
from stages.core.records.problem import refuse
from stages.core.weights import header, shards
from stages.core.weights.header import Entry

if TYPE_CHECKING:
    from torch import Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_INDEX_BYTES = 1 << 24
COMPARE_BYTES = 1 << 22


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
        if single:
            self._read_shard(SINGLE)
            return
        where, tree = str(directory / INDEX), self._read_index()
        placed, problems = shards.placed(tree, where)
        refuse(problems)
        held = {shard: self._read_shard(shard) for shard in sorted(set(placed.values()))}
        refuse(list(shards.disagreements(tree, where, held)))

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

    def _read_index(self) -> Json:
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
        return header.tree(bytes(text), str(path), "index-json")

    def _read_shard(self, shard: str) -> dict[str, Entry]:
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
        entries = header.parse(bytes(head), str(path), size)
        for entry in entries.values():
            self.tensors[entry.name] = TensorSpec(entry.dtype, entry.shape, shard, entry.start, entry.end)
        self.files[shard] = FileSpec(size, len(head), sha256_bytes(bytes(head)))
        return entries


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
