"""A second opinion on safetensors files, in another way: slow, byte by byte, with a JSON reader of its own.

Where `header.judge` sorts spans and walks along them, this one paints every byte with its owner. Where that
one leans on Python's json, this one reads the grammar of RFC 8259 itself and keeps repeated keys.
For small files only. Shares no line with stages/.
"""

import re
import struct
from typing import Any

BITS = {
    **dict.fromkeys(("F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 8),
}
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"')
ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
PLAIN = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Bad(Exception):
    """The file is no good; its argument says why."""


def tensors(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Name → (dtype code, shape, bytes) of a whole file. Raises Bad for a file that nobody should open."""
    if len(data) < 8:
        raise Bad("no length")
    (size,) = struct.unpack("<Q", data[:8])
    if size > 1 << 24 or size > len(data) - 8:
        raise Bad("the header is too long")
    try:
        text = data[8 : 8 + size].decode("utf-8")
    except UnicodeDecodeError as fault:
        raise Bad("the header is no UTF-8") from fault
    if not text.startswith("{"):
        raise Bad("the header is no object")
    tree, end = _value(text, 0, 0)
    if text[end:].strip(" \t\n\r"):
        raise Bad("something follows the header's object")
    return _painted(tree, data[8 + size :])


def _painted(tree: Any, body: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Every tensor of the header, once each byte of the body has exactly one of them for its owner."""
    owner: list[str | None] = [None] * len(body)
    found, points = {}, []
    for name, entry in _pairs(tree).items():
        if name == "__metadata__":
            _check_metadata(entry)
            continue
        _check_name(name)
        code, shape, (start, end) = _described(entry, len(body))
        for place in range(start, end):
            if owner[place] is not None:
                raise Bad(f"byte {place} is {owner[place]}'s and {name}'s")
            owner[place] = name
        points += [start] if start == end else []
        found[name] = code, tuple(shape), body[start:end]
    if None in owner:
        raise Bad(f"byte {owner.index(None)} is nobody's")
    for point in points:
        if 0 < point < len(owner) and owner[point - 1] == owner[point]:
            raise Bad(f"a tensor of no bytes lies inside {owner[point]}")
    return found


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= 256 or name[0] not in LETTERS:
        raise Bad(f"name {name!r}")
    if ".." in name or set(name) - LETTERS - set(".:/-"):
        raise Bad(f"name {name!r}")


def _described(entry: Any, body_bytes: int) -> tuple[str, list[int], list[int]]:
    """dtype code, shape and offsets that agree with each other."""
    fields = _pairs(entry)
    if sorted(fields) != ["data_offsets", "dtype", "shape"]:
        raise Bad("other fields than three")
    kind, code = fields["dtype"]
    if kind != "string" or code not in BITS:
        raise Bad("dtype")
    shape, offsets = _numbers(fields["shape"]), _numbers(fields["data_offsets"])
    if len(shape) > 8 or len(offsets) != 2:
        raise Bad("rank")
    bits, nonzero = BITS[code], 1
    for extent in shape:
        bits *= extent
        nonzero *= max(extent, 1)
    if nonzero >= 1 << 60:
        raise Bad("a shape that overflows")
    start, end = offsets
    if start > end or end > body_bytes or bits != (end - start) * 8:
        raise Bad("size")
    return code, shape, offsets


def _check_metadata(entry: Any) -> None:
    texts: list[str] = []
    for key, (kind, value) in _pairs(entry).items():
        if kind != "string":
            raise Bad("metadata is no map of strings")
        texts += [key, value]
    if len(texts) > 2 * 256 or any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
        raise Bad("metadata is too much, or no text")
    if sum(len(text.encode()) for text in texts) > 1 << 16:
        raise Bad("metadata is too long")


def _pairs(value: Any) -> dict[str, Any]:
    kind, pairs = value
    if kind != "object":
        raise Bad("expected an object")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise Bad("a key occurs twice")
    return dict(pairs)


def _numbers(value: Any) -> list[int]:
    kind, items = value
    if kind != "array":
        raise Bad("expected an array")
    if any(inner != "number" or not re.fullmatch("0|[1-9][0-9]{0,18}", text) for inner, text in items):
        raise Bad("expected whole numbers")
    found = [int(text) for _, text in items]
    if any(number >= 1 << 60 for number in found):
        raise Bad("a number is too large")
    return found


def _value(text: str, place: int, depth: int) -> tuple[Any, int]:
    """(kind, content) of the value at `place`, and where it ends."""
    place = _past_spaces(text, place)
    if depth > 20:
        raise Bad("nested too deeply")
    if text[place : place + 1] in ("{", "["):
        return _container(text, place, depth)
    if match := STRING.match(text, place):
        return ("string", _unescaped(match[1])), match.end()
    if match := NUMBER.match(text, place):
        return ("number", match[0]), match.end()
    for word in ("true", "false", "null"):
        if text.startswith(word, place):
            return ("word", word), place + len(word)
    raise Bad(f"no JSON at {place}")


def _container(text: str, place: int, depth: int) -> tuple[Any, int]:
    opened, items = text[place], []
    close = "}" if opened == "{" else "]"
    place = _past_spaces(text, place + 1)
    while text[place : place + 1] != close:
        if items:
            if text[place : place + 1] != ",":
                raise Bad(f"no comma at {place}")
            place += 1
        if opened == "{":
            (kind, name), place = _value(text, place, depth + 1)
            place = _past_spaces(text, place)
            if kind != "string" or text[place : place + 1] != ":":
                raise Bad(f"no key at {place}")
            value, place = _value(text, place + 1, depth + 1)
            items.append((name, value))
        else:
            value, place = _value(text, place, depth + 1)
            items.append(value)
        place = _past_spaces(text, place)
    return ("object" if opened == "{" else "array", items), place + 1


def _past_spaces(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t", "\n", "\r"):
        place += 1
    return place


def _unescaped(raw: str) -> str:
    """The characters of a JSON string; halves of a pair are joined, and others stay halves."""
    units = ESCAPE.sub(lambda m: chr(int(m[1], 16)) if m[1] else PLAIN.get(m[2], m[2]), raw)
    return units.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
