"""Safetensors headers, read strictly and written by us.

A file is an 8-byte little-endian length, that many bytes of JSON, and the tensors' bytes without holes.
The library's parser lets through duplicate keys, extra fields and megabytes of metadata, and writes metadata
in hash-map order; this one refuses the former, and writes the same bytes for the same tensors.
Source: huggingface/safetensors, format description.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

from stages.core.errors import BadCheckpoint

# safetensors code -> (name used in this project, bytes of one element)
DTYPES: Mapping[str, tuple[str, int]] = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U64": ("uint64", 8),
    "U32": ("uint32", 4),
    "U16": ("uint16", 2),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
CODES: Mapping[str, str] = {name: code for code, (name, _) in DTYPES.items()}
ITEMSIZE: Mapping[str, int] = dict(DTYPES.values())

MAX_HEADER_BYTES = 1 << 24  # a header of 100,000 tensors takes about 12 MB
MAX_TENSORS = 100_000
MAX_METADATA_BYTES = 1 << 16
MAX_RANK = 8
TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,255}")  # printable, no path that climbs
METADATA = {"format": "pt"}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file. start and end: byte offsets from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        """How many elements; 1 for a scalar."""
        return prod(self.shape)


def length(first: bytes, where: str, file_bytes: int) -> int:
    """Bytes up to the first tensor, from the first 8 bytes of a file of `file_bytes`.

    Raises BadCheckpoint (`not-safetensors`, `header-size`), telling an LFS pointer by its text.
    """
    if first.startswith(b"version "):
        _refuse("lfs-pointer", where, "is a Git LFS pointer, not the weights. Run `git lfs pull`")
    if len(first) < 8:
        _refuse("not-safetensors", where, f"holds {len(first)} bytes, too few for a safetensors file")
    size = int.from_bytes(first, "little")
    if size > MAX_HEADER_BYTES:
        _refuse("header-size", where, f"claims a header of {size} bytes; the limit is {MAX_HEADER_BYTES}")
    if 8 + size > file_bytes:
        _refuse("header-size", where, f"claims a header of {size} bytes in a file of {file_bytes}")
    return 8 + size


def parse(head: bytes, where: str, file_bytes: int) -> dict[str, Entry]:
    """Name -> entry in file order, from the first `length` bytes of a file.

    Raises BadCheckpoint: `header-json`, `header-metadata`, `header-entry`, `header-name`, `header-dtype`,
    `header-offsets` (holes, overlaps, sizes that disagree with shapes, bytes left over).
    """
    listed = tree(head[8:], where, "header-json")
    _check_metadata(listed.pop("__metadata__", {}), where)
    if len(listed) > MAX_TENSORS:
        _refuse("header-entry", where, f"lists {len(listed)} tensors; the limit is {MAX_TENSORS}")
    entries = sorted((_entry(name, raw, len(head), where) for name, raw in listed.items()), key=_place)
    position = len(head)
    for entry in entries:
        if entry.start != position:
            kind = "hole" if entry.start > position else "overlap"
            _refuse("header-offsets", where, f"has a {kind} before tensor {entry.name!r}")
        position = entry.end
    if position != file_bytes:
        _refuse("header-offsets", where, f"ends its tensors at byte {position}, but holds {file_bytes} bytes")
    return {entry.name: entry for entry in entries}


def write(tensors: Iterable[tuple[str, str, Sequence[int]]]) -> tuple[bytes, list[Entry]]:
    """Header bytes for (name, dtype, shape) in the order given, and where each tensor lies in the file.

    Metadata is exactly {"format": "pt"}; spaces pad the header to a multiple of 8 bytes.
    """
    listed: dict[str, Any] = {"__metadata__": METADATA}
    position, laid = 0, []
    for name, dtype, shape in tensors:
        size = prod(shape) * ITEMSIZE[dtype]
        offsets = [position, position + size]
        listed[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": offsets}
        laid.append((name, dtype, tuple(shape), position, position + size))
        position += size
    text = json.dumps(listed, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return head, [Entry(n, d, s, len(head) + start, len(head) + end) for n, d, s, start, end in laid]


def tree(text: bytes, where: str, code: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises BadCheckpoint (`code`) for anything else, and for a repeated key."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as problem:
        _refuse(code, where, f"holds malformed JSON: {problem}")
    if not text.startswith(b"{") or not isinstance(found, dict):
        _refuse(code, where, "holds JSON that is no object")
    return found


def _check_metadata(metadata: object, where: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse("header-metadata", where, "has metadata that is no map of strings")
    if sum(len(key) + len(value) for key, value in metadata.items()) > MAX_METADATA_BYTES:
        _refuse("header-metadata", where, f"carries more than {MAX_METADATA_BYTES} bytes of metadata")


def _entry(name: str, raw: object, data_start: int, where: str) -> Entry:
    if not TENSOR_NAME.fullmatch(name) or ".." in name:
        _refuse("header-name", where, f"has a tensor named {name[:80]!r}")
    if not isinstance(raw, dict) or raw.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse("header-entry", where, f"describes tensor {name!r} by other fields than three")
    dtype, shape, offsets = raw["dtype"], raw["shape"], raw["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        _refuse("header-dtype", where, f"gives tensor {name!r} the unknown dtype {str(dtype)[:40]!r}")
    if not _naturals(shape) or len(shape) > MAX_RANK or not _naturals(offsets) or len(offsets) != 2:
        _refuse("header-entry", where, f"has a malformed shape or offset in tensor {name!r}")
    size = prod(shape) * DTYPES[dtype][1]
    if offsets[1] - offsets[0] != size:
        span = offsets[1] - offsets[0]
        _refuse("header-offsets", where, f"gives tensor {name!r} {span} bytes; its shape needs {size}")
    return Entry(name, DTYPES[dtype][0], tuple(shape), data_start + offsets[0], data_start + offsets[1])


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 1 << 62 for number in value)


def _place(entry: Entry) -> tuple[int, int]:
    return entry.start, entry.end


def _refuse(code: str, where: str, problem: str) -> NoReturn:
    raise BadCheckpoint(code, f"{where} {problem}.")
