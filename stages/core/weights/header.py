"""Safetensors headers, read strictly and written by us.

A file is an 8-byte little-endian length, that many bytes of JSON, and the tensors' bytes without holes.
The library's parser lets through duplicate keys, extra fields and megabytes of metadata, and writes metadata
in hash-map order; this one refuses the former, and writes the same bytes for the same tensors. Whatever is
accepted here, the library reads as the same tensors. Names that differ in case alone are two tensors: nothing
here or there folds case.
Source: huggingface/safetensors, format description.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

from stages.core.errors import BadCheckpoint
from stages.core.records.problem import Problem, problem, refuse

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
MAX_VALUES = 1 << 21  # of the JSON: 100,000 tensors of rank 8 have 1.6 million
MAX_METADATA = 256
MAX_METADATA_BYTES = 1 << 16
MAX_RANK = 8
MOST = 1 << 60  # of a number, and of the product of a shape without its zeros: times 8 bytes, under 2^63
TENSOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,255}")  # printable, no path that climbs
SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")  # as UTF-8 would have it
FIELDS = {"dtype", "shape", "data_offsets"}
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

    Raises BadCheckpoint with everything that `judge` finds, and the code of the first.
    """
    entries, problems = judge(head, where, file_bytes)
    refuse(problems)
    return entries


def judge(head: bytes, where: str, file_bytes: int) -> tuple[dict[str, Entry], list[Problem]]:
    """What a header lists, in file order, and everything that is wrong with it.

    head: the first `length` bytes of a file of `file_bytes`, named `where` in messages.
    Codes: `header-json` (malformed, a key twice), `header-metadata`, `header-entry`, `header-name`,
    `header-dtype`, `header-offsets` (holes, overlaps, one range twice, sizes that disagree with shapes, bytes
    left over). A tensor of no bytes may lie where another begins or ends, and not inside it.
    """
    text = head[8:]
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_VALUES:
        return {}, [problem("header-json", where, f"holds JSON of more than {MAX_VALUES} values.")]
    listed, faults = _read(text)
    problems = [problem("header-json", where, f"{fault}.") for fault in faults]
    whole = not problems  # else bytes may belong to what could not be read, and a hole is none
    metadata = listed.pop("__metadata__", {})
    problems += [problem("header-metadata", where, what) for what in _metadata_faults(metadata)]
    if len(listed) > MAX_TENSORS:
        what = f"lists {len(listed)} tensors; the limit is {MAX_TENSORS}."
        return {}, [*problems, problem("header-entry", where, what)]
    entries: list[Entry] = []
    for name, raw in listed.items():
        entry, wrong = _entry(name, raw, len(head))
        problems += [problem(code, where, what) for code, what in wrong]
        if entry is None:
            whole = False
        else:
            entries.append(entry)
    entries.sort(key=_place)
    problems += [
        problem("header-offsets", where, what) for what in _misplaced(entries, len(head), file_bytes, whole)
    ]
    return {entry.name: entry for entry in entries}, problems


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
    found, faults = _read(text)
    refuse([problem(code, where, f"{fault}.") for fault in faults])
    return found


def _read(text: bytes) -> tuple[dict[str, Any], list[str]]:
    """The JSON object in `text`, of a repeated key the last value; and what is wrong with it."""
    twice: dict[str, None] = {}

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            counted = Counter(name for name, _ in pairs)
            twice.update(dict.fromkeys(name for name, count in counted.items() if count > 1))
        return found

    whole = _whole if b"-0" in text else None  # a number of its own to Python, and none to other readers
    try:
        found = json.loads(
            text.decode("utf-8"), object_pairs_hook=unique, parse_constant=_constant, parse_int=whole
        )
    except (ValueError, RecursionError) as fault:
        return {}, [f"holds malformed JSON: {fault}"]
    if not text.startswith(b"{") or not isinstance(found, dict):
        return {}, ["holds JSON that is no object"]
    return found, [f"holds malformed JSON: the key {name[:80]!a} occurs twice" for name in twice]


def _whole(digits: str) -> int:
    if digits == "-0":
        raise ValueError("-0 is no whole number")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _metadata_faults(metadata: object) -> Iterator[str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        yield "has metadata that is no map of strings."
        return
    if len(metadata) > MAX_METADATA:
        yield f"carries {len(metadata)} entries of metadata; the limit is {MAX_METADATA}."
    texts = [text.encode("utf-8", "surrogatepass") for entry in metadata.items() for text in entry]
    if sum(map(len, texts)) > MAX_METADATA_BYTES:
        yield f"carries more than {MAX_METADATA_BYTES} bytes of metadata."
    if any(SURROGATE.search(text) for text in texts):
        yield "has metadata with half a character, which other readers refuse."


def _entry(name: str, raw: object, data_start: int) -> tuple[Entry | None, list[tuple[str, str]]]:
    """The entry, if it says where the tensor lies; and what is wrong with it, each with its code."""
    wrong: list[tuple[str, str]] = []
    if not TENSOR_NAME.fullmatch(name) or ".." in name:
        wrong.append(("header-name", f"has a tensor named {name[:80]!a}."))
    if not isinstance(raw, dict) or raw.keys() != FIELDS:
        wrong.append(("header-entry", f"describes tensor {name[:80]!a} by other fields than three."))
        return None, wrong
    code, shape, offsets = raw["dtype"], raw["shape"], raw["data_offsets"]
    dtype, itemsize = DTYPES.get(code, (None, 0)) if isinstance(code, str) else (None, 0)
    if dtype is None:  # a nest of lists as deep as JSON may be has no text that Python could write
        told = ascii(code[:40]) if isinstance(code, str) else f"that is a {type(code).__name__}"
        wrong.append(("header-dtype", f"gives tensor {name[:80]!a} the unknown dtype {told}."))
    if not _naturals(offsets) or len(offsets) != 2:
        wrong.append(("header-entry", f"has malformed offsets in tensor {name[:80]!a}."))
        return None, wrong
    start, end = offsets
    if not _naturals(shape) or len(shape) > MAX_RANK:
        wrong.append(("header-entry", f"has a malformed shape in tensor {name[:80]!a}."))
        shape = ()
    elif dtype is not None and end - start != (size := prod(shape) * itemsize):
        wrong.append(
            ("header-offsets", f"gives tensor {name[:80]!a} {end - start} bytes; its shape needs {size}.")
        )
    elif 0 in shape and prod(filter(None, shape)) >= MOST:
        wrong.append(("header-entry", f"has a shape beyond all counting in tensor {name[:80]!a}."))
    return Entry(name, dtype or "", tuple(shape), data_start + start, data_start + end), wrong


def _misplaced(entries: Sequence[Entry], first: int, last: int, whole: bool) -> Iterator[str]:
    """Overlaps of entries sorted by place; and, if they are the whole file, the bytes that none of them has.

    first, last: where the tensors' bytes begin and end.
    """
    position = first
    for entry in entries:
        if entry.start < position:
            yield f"has an overlap before tensor {entry.name[:80]!a}: its bytes begin in another's."
        elif entry.start > position and whole:
            lost = entry.start - position
            yield f"has a hole before tensor {entry.name[:80]!a}: {lost} bytes are nobody's."
        position = max(position, entry.end)
    if position > last or (position < last and whole):
        yield f"ends its tensors at byte {position}, but holds {last} bytes."


def _naturals(value: object) -> bool:
    if not isinstance(value, list):
        return False
    for number in value:  # noqa: SIM110 -- all() takes twice the time
        if type(number) is not int or not 0 <= number < MOST:
            return False
    return True


def _place(entry: Entry) -> tuple[int, int]:
    return entry.start, entry.end


def _refuse(code: str, where: str, what: str) -> NoReturn:
    raise BadCheckpoint(code, f"{where} {what}.")
