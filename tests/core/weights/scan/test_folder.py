"""Every hostile entry is refused with its stable code; an ordinary artifact is not."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core.errors import BadCheckpoint
from stages.core.weights import scan
from tests.attacks.checkpoints import listener
from tests.parents import tiny

Spoil = Callable[[Path], object]


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """An artifact that passes."""
    return tiny.write(tmp_path / "sorter")


def text(name: str, content: str) -> Spoil:
    return lambda folder: (folder / name).write_text(content)


def raw(name: str, content: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content)


def codes(problems: list[scan.Problem]) -> list[str]:
    return [problem.code for problem in problems]


def test_an_ordinary_artifact_has_no_problem(parent: Path) -> None:
    for name in ("LICENSE", "README.md", "NOTICE"):
        (parent / name).write_text("text")
    (parent / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert scan.outside(parent) == []
    assert scan.look(parent).problems == []


def link(folder: Path) -> None:
    (folder / "LICENSE").symlink_to("/etc/hostname")


def link_to_a_listed_file(folder: Path) -> None:
    (folder / "LICENSE").symlink_to("config.json")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "LICENSE")


def sparse(folder: Path) -> None:
    with (folder / "config.json").open("wb") as stream:
        stream.truncate((1 << 20) + 1)


def crowd(folder: Path) -> None:
    for number in range(scan.MAX_FILES + 1):
        (folder / f"{number}").touch()


ENTRIES: list[tuple[str, Spoil]] = [
    ("symlink", link),
    ("symlink", link_to_a_listed_file),
    ("sub-folder", lambda folder: (folder / "original").mkdir()),
    ("not-a-file", pipe),
    ("not-a-file", listener),
    ("file-size", sparse),
    ("too-many-files", crowd),
    ("pickle", text("pytorch_model.bin", "")),
    ("pickle", text("training_args.PT", "")),
    ("pickle", text("optimizer.pkl", "")),
    ("code", text("modeling_sorter.py", "")),
    ("code", text("kernel.so", "")),
    ("ambiguous", text("model-00001-of-00002.safetensors", "")),
    ("ambiguous", text("model.safetensors.index.json", "{}")),
    ("not-listed", text("model-1-of-2.safetensors", "")),
    ("not-listed", text("consolidated.safetensors", "")),
    ("not-listed", text("notes.txt", "")),
    ("not-listed", text("tokenizer.model", "")),
    ("name", text(".hidden.json", "{}")),
    ("name", text("config.json ", "{}")),
    ("name", text("con\nfig.json", "{}")),
    ("name", lambda folder: (folder / os.fsdecode(b"config\xff.json")).touch()),
    ("file-missing", lambda folder: (folder / "tokenizer.json").unlink()),
    ("file-missing", lambda folder: (folder / "model.safetensors").unlink()),
]


@pytest.mark.parametrize(("code", "spoil"), ENTRIES)
def test_an_entry_that_is_no_plain_listed_file_is_refused_unopened(
    parent: Path, code: str, spoil: Spoil
) -> None:
    spoil(parent)
    assert code in codes(scan.outside(parent))


def test_names_that_differ_in_case_alone_are_refused(parent: Path) -> None:
    (parent / "CONFIG.json").write_text("{}")
    assert codes(scan.outside(parent)) == ["not-listed", "case-twins"]


def nested(name: str, depth: int) -> Spoil:
    return text(name, '{"a":' + "[" * depth + "]" * depth + "}")


def header(tree: object, data: bytes = b"") -> bytes:
    content = json.dumps(tree).encode()
    return struct.pack("<Q", len(content)) + content + data


FLOAT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 123456789\n"
)
CONTENTS: list[tuple[str, Spoil]] = [
    ("json", text("config.json", "{")),
    ("json", text("config.json", "[]")),
    ("json", text("config.json", "")),
    ("json", text("config.json", '{"a": 1, "a": 2}')),
    ("json", text("config.json", '{"a": NaN}')),
    ("json", text("config.json", '{"a": -Infinity}')),
    ("json", text("config.json", '{"a": ' + "9" * 5000 + "}")),
    ("json", raw("config.json", b'{"a": "\xff"}')),
    ("json", nested("tokenizer.json", 100_000)),
    ("json-depth", nested("tokenizer.json", 64)),
    ("tokenizer-model", text("tokenizer.json", "{}")),
    ("no-tensors", raw("model.safetensors", header({}))),
    ("config-size", text("config.json", '{"num_hidden_layers": 100000}')),
    ("remote-code", text("config.json", '{"auto_map": {"AutoModel": "modeling.Sorter"}}')),
    ("remote-code", text("config.json", '{"text_config": [{"auto_map": {}}]}')),
    ("remote-code", text("tokenizer_config.json", '{"auto_map": {}}')),
    ("remote-code", text("config.json", '{"trust_remote_code": true}')),
    ("chat-template", text("tokenizer_config.json", json.dumps({"chat_template": "x" * 70_000}))),
    (
        "chat-template",
        text("tokenizer_config.json", json.dumps({"chat_template": [{"template": "x" * 70_000}]})),
    ),
    ("lfs-pointer", text("model.safetensors", POINTER)),
    ("lfs-pointer", text("tokenizer.json", POINTER)),
    ("not-safetensors", raw("model.safetensors", b"")),
    ("header-size", raw("model.safetensors", b"\xff" * 16)),
    ("header-json", raw("model.safetensors", struct.pack("<Q", 2) + b"[]")),
    ("header-offsets", raw("model.safetensors", header({"a": FLOAT}, b"\0" * 5))),
    ("header-offsets", raw("model.safetensors", header({"a": FLOAT, "b": FLOAT}, b"\0" * 4))),
    ("header-name", raw("model.safetensors", header({"../a": FLOAT}, b"\0" * 4))),
    ("header-dtype", raw("model.safetensors", header({"a": {**FLOAT, "dtype": "F31"}}, b"\0" * 4))),
]


@pytest.mark.parametrize(("code", "spoil"), CONTENTS)
def test_hostile_content_is_refused_with_its_code(parent: Path, code: str, spoil: Spoil) -> None:
    spoil(parent)
    assert codes(scan.look(parent).problems) == [code]


def test_an_lfs_pointer_is_refused_with_the_command_that_fetches_the_file(parent: Path) -> None:
    (parent / "model.safetensors").write_text(POINTER)
    assert [problem.message for problem in scan.look(parent).problems] == [
        f"model.safetensors is a Git LFS pointer ({len(POINTER)} bytes). Run `git lfs pull`."
    ]


def test_all_problems_are_reported_with_the_code_of_the_first(parent: Path) -> None:
    (parent / "a.py").touch()
    (parent / "b.bin").touch()
    with pytest.raises(
        BadCheckpoint, match=r"sorter/a\.py is code.*\n.*sorter/b\.bin may run code"
    ) as caught:
        scan.refuse(scan.outside(parent), "sorter/")
    assert caught.value.code == "code"
