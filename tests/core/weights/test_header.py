"""Hostile and broken headers are refused by code; ours are read by the library."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from stages.core.errors import BadCheckpoint
from stages.core.weights import header
from tests.core.weights.family import save, state

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def framed(text: bytes) -> bytes:
    """A header with its length in front."""
    return len(text).to_bytes(8, "little") + text


def parse(text: bytes, data_bytes: int = 8) -> dict[str, header.Entry]:
    """Parse a header over that many bytes of tensors, by the same two steps as the reader."""
    head = framed(text)
    assert header.length(head[:8], "file", len(head) + data_bytes) == len(head)
    return header.parse(head, "file", len(head) + data_bytes)


def test_a_plain_header_is_read() -> None:
    (entry,) = parse(json.dumps({"__metadata__": {"format": "pt"}, "w": GOOD}).encode()).values()
    assert (entry.name, entry.dtype, entry.shape, entry.end - entry.start) == ("w", "float32", (2,), 8)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"w":', "header-json"),
        (b"[]", "header-json"),
        (b' {"w":1}', "header-json"),
        (b"\xff\xfe{}", "header-json"),
        (b"[" * 100_000, "header-json"),
        (b'{"a":' * 100_000, "header-json"),
        (b'{"w":NaN}', "header-json"),
        (b'{"w":' + b"9" * 5000 + b"}", "header-json"),
        (
            b'{"w":{"dtype":' + b"[" * 900 + b"]" * 900 + b',"shape":[2],"data_offsets":[0,8]}}',
            "header-(dtype|json)",
        ),
        (b'{"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', "header-json"),
        (b'{"w":1,"w":1}', "header-json"),
        (b'{"__metadata__":[]}', "header-metadata"),
        (b'{"__metadata__":{"a":1}}', "header-metadata"),
        (b'{"__metadata__":{"a":"' + b"x" * 70_000 + b'"}}', "header-metadata"),
    ],
)
def test_malformed_json_is_refused(text: bytes, code: str) -> None:
    with pytest.raises(BadCheckpoint, match=rf"^\[{code}\] file "):
        parse(text)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"extra": 1}, "header-entry"),
        ({"shape": "2"}, "header-entry"),
        ({"shape": [-2]}, "header-entry"),
        ({"shape": [2.0]}, "header-entry"),
        ({"shape": [True, 2]}, "header-entry"),
        ({"shape": [1] * 9}, "header-entry"),
        ({"shape": [1 << 62]}, "header-entry"),
        ({"data_offsets": [0, 8, 8]}, "header-entry"),
        ({"data_offsets": [0, 1 << 70]}, "header-entry"),
        ({"dtype": "F31"}, "header-dtype"),
        ({"dtype": ["F32"]}, "header-dtype"),
        ({"shape": [3]}, "header-offsets"),
        ({"shape": [1 << 40, 1 << 40]}, "header-offsets"),
        ({"data_offsets": [8, 0]}, "header-offsets"),
        ({"data_offsets": [4, 12]}, "header-offsets"),
    ],
)
def test_a_malformed_entry_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(BadCheckpoint, match=rf"^\[{code}\] file "):
        parse(json.dumps({"w": {**GOOD, **change}}).encode())


@pytest.mark.parametrize(
    "name", ["", "a b", "../../etc/passwd", "/etc/passwd", "a\n", "é", "x" * 257, "a\u0000"]
)
def test_a_hostile_tensor_name_is_refused(name: str) -> None:
    with pytest.raises(BadCheckpoint, match=r"^\[header-name\]"):
        parse(json.dumps({name: GOOD}).encode())


def test_overlaps_holes_and_leftovers_are_refused() -> None:
    def listed(*spans: tuple[int, int]) -> bytes:
        return json.dumps(
            {f"t{i}": {**GOOD, "data_offsets": list(span)} for i, span in enumerate(spans)}
        ).encode()

    parse(listed((0, 8), (8, 16)), data_bytes=16)
    for spans, data_bytes in (([(0, 8), (0, 8)], 16), ([(0, 8), (4, 12)], 12), ([(0, 8), (12, 20)], 20)):
        with pytest.raises(BadCheckpoint, match=r"has an? (hole|overlap) before tensor"):
            parse(listed(*spans), data_bytes)
    with pytest.raises(BadCheckpoint, match=r"ends its tensors at byte"):
        parse(listed((0, 8)), data_bytes=9)
    with pytest.raises(BadCheckpoint, match=r"ends its tensors at byte"):
        parse(listed((0, 8)), data_bytes=7)


@pytest.mark.parametrize(
    ("first", "size", "code"),
    [
        (b"version ", 134, "lfs-pointer"),
        (b"", 0, "not-safetensors"),
        (b"1234567", 7, "not-safetensors"),
        ((1 << 60).to_bytes(8, "little"), 1 << 20, "header-size"),
        ((100).to_bytes(8, "little"), 107, "header-size"),
        (b"\x80\x02ctorch", 1000, "header-size"),
    ],
)
def test_what_is_no_safetensors_file_is_told_by_its_first_bytes(first: bytes, size: int, code: str) -> None:
    with pytest.raises(BadCheckpoint, match=rf"^\[{code}\] file "):
        header.length(first, "file", size)


def refusal_of(read: Callable[[], object]) -> type[Exception] | None:
    """The type of what `read` raised, whatever it was; None if it accepted."""
    try:
        read()
    except Exception as problem:  # noqa: BLE001 -- which one it is, is the question
        return type(problem)
    return None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.integers(0, 200))
def test_no_bytes_raise_anything_but_our_refusal(text: bytes, data_bytes: int) -> None:
    assert refusal_of(lambda: parse(text, data_bytes)) in (None, BadCheckpoint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["dtype", "shape", "data_offsets", "extra", "__metadata__", "w"]), JSON)
def test_no_json_raises_anything_but_our_refusal(key: str, value: Any) -> None:
    tree = {"w": {**GOOD, key: value}} if key not in ("__metadata__", "w") else {"w": GOOD, key: value}
    assert refusal_of(lambda: parse(json.dumps(tree).encode())) in (None, BadCheckpoint)


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    tensors = state(1, torch.bfloat16)
    save(tensors, tmp_path / "m.safetensors")
    loaded = load_file(tmp_path / "m.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    with safetensors.safe_open(tmp_path / "m.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    tensors = {**state(1, torch.float16), "ids": torch.arange(5), "mask": torch.tensor([True, False, True])}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt", "made": "elsewhere"})
    raw = (tmp_path / "m.safetensors").read_bytes()
    entries = header.parse(raw[: header.length(raw[:8], "file", len(raw))], "file", len(raw))
    found = {name: (entry.dtype, entry.shape) for name, entry in entries.items()}
    assert found == {n: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for n, t in tensors.items()}
