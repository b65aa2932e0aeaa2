"""One byte string per value: RFC 8785 canonical JSON, and floats that survive it exactly.

Everything that is hashed or signed goes through `dumps`. Numbers of a recipe are kept as hex strings
(`0x1.8000000000000p-1`), since decimal text would leave their last bit to the reader.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import rfc8785

from stages.core.errors import LabError
from stages.core.records.files import write_text

Json = Any  # a tree of dict[str, Json], list[Json], str, int, float, bool, None


def dumps(value: Json) -> bytes:
    """Canonical bytes of `value` (RFC 8785): sorted keys, no spaces, UTF-8.

    Raises LabError for NaN, infinities and integers beyond 2^53, which JSON cannot carry exactly.
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as problem:
        raise LabError(f"cannot write this value as canonical JSON: {problem}") from problem


def pretty(value: Json) -> str:
    """JSON for files that people review: sorted keys, a line per key, lists of numbers or words on one line.

    Same content as `dumps`, one final newline. Raises LabError as `dumps` does.
    """
    dumps(value)
    return _lines(value, "") + "\n"


def _lines(value: Json, margin: str) -> str:
    inner = margin + " "
    if isinstance(value, dict) and value:
        rows = [
            f"{json.dumps(key, ensure_ascii=False)}: {_lines(value[key], inner)}" for key in sorted(value)
        ]
        return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{margin}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        return "[\n" + ",\n".join(inner + _lines(item, inner) for item in value) + f"\n{margin}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def hex_float(value: float) -> str:
    """Exact text of a float64, e.g. 0.5 -> '0x1.0000000000000p-1'. Negative zero becomes zero."""
    return (float(value) + 0.0).hex()


def from_hex(text: str) -> float:
    """The float64 that `hex_float` wrote. Raises LabError if `text` is not such a string."""
    try:
        return float.fromhex(text)
    except (ValueError, TypeError) as problem:
        raise LabError(f"expected a hex float such as '0x1.8p-1', got {text!r}") from problem


def write_json(path: Path, value: Json) -> None:
    """Write `pretty(value)` to `path` so that a kill at any instant leaves the old file or the new one."""
    write_text(path, pretty(value))


def loads(text: str | bytes) -> Json:
    """Parse JSON that says one thing to every reader.

    Raises ValueError for malformed text, a key that occurs twice, NaN and infinities, and endless nesting:
    readers differ in which of two values they take, so nothing that is hashed or signed may hold both.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Json:
    """Parse one JSON file. Raises LabError naming the file if it is missing or malformed."""
    try:
        return loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise LabError(f"cannot read {path}: {problem.strerror}") from problem
    except ValueError as problem:
        raise LabError(f"{path} is not JSON: {problem}") from problem


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        raise ValueError(f"the key {next(name for name in counted if counted[name] > 1)!r} occurs twice")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
