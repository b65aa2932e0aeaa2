"""A sharded checkpoint is taken if its index and its shards say one thing, and refused by code if not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import BadCheckpoint
from stages.core.weights import scan
from stages.core.weights.reader import INDEX, Checkpoint
from tests.parents import tiny

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """An artifact in two shards that passes."""
    return tiny.sharded(tiny.write(tmp_path / "sorter"))


def codes(folder: Path) -> list[str]:
    problems = scan.outside(folder) or scan.look(folder).problems
    return [problem.code for problem in problems]


def index(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Write the index anew after `change`."""

    def spoil(folder: Path) -> None:
        tree = json.loads((folder / INDEX).read_text())
        change(tree)
        (folder / INDEX).write_text(json.dumps(tree))

    return spoil


def place(tensor: str, shard: str) -> Callable[[Path], object]:
    return index(lambda tree: tree["weight_map"].update({tensor: shard}))


def state(total: Any) -> Callable[[Path], object]:
    return index(lambda tree: tree["metadata"].update(total_size=total))


def write(name: str, shapes: dict[str, tuple[int, ...]]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(tiny.safetensors(shapes))


def test_a_sharded_checkpoint_passes_and_holds_the_tensors_of_the_whole(parent: Path) -> None:
    assert codes(parent) == []
    assert Checkpoint(parent).tensors.keys() == tiny.SHAPES.keys()


def test_the_total_may_be_left_out(parent: Path) -> None:
    index(lambda tree: tree.pop("metadata"))(parent)
    assert codes(parent) == []


SPOILT: list[tuple[str, Callable[[Path], object]]] = [
    ("shard-missing", lambda folder: (folder / SECOND).unlink()),
    ("index-missing", lambda folder: (folder / INDEX).unlink()),
    ("ambiguous", write("model.safetensors", {"w": (1,)})),
    ("shards", write("model-00001-of-00003.safetensors", {"w": (1,)})),
    ("shards", write("model-00001-of-99999.safetensors", {"w": (1,)})),
    ("not-listed", write("extra.safetensors", {"w": (1,)})),
    ("case-twins", write("Model-00001-of-00002.safetensors", {"w": (1,)})),
    ("index-json", index(lambda tree: tree.pop("weight_map"))),
    ("index-name", place("w", "../outside.safetensors")),
    ("index-name", place("w", "/etc/passwd")),
    ("index-name", place("w", "pytorch_model.bin")),
    ("index-name", place("w", FIRST.upper().replace(".SAFETENSORS", ".safetensors"))),
    ("shard-missing", place("w", "model-00003-of-00003.safetensors")),
    ("shard-unlisted", index(lambda tree: tree.update(weight_map={"model.norm.weight": SECOND}))),
    ("index-disagrees", place("model.embed_tokens.weight", SECOND)),
    ("index-disagrees", place("another", FIRST)),
    ("index-twice", write(FIRST, tiny.SHAPES)),
    ("index-total", state(1)),
    ("index-total", state("180")),
    ("index-total", state(True)),
    ("index-total", index(lambda tree: tree.update(metadata=[]))),
    ("header-json", lambda folder: (folder / SECOND).write_bytes(bytes([2, *[0] * 7]) + b"[]")),
]


@pytest.mark.parametrize(("code", "spoil"), SPOILT)
def test_a_sharded_checkpoint_that_says_two_things_is_refused(
    parent: Path, code: str, spoil: Callable[[Path], object]
) -> None:
    spoil(parent)
    assert code in codes(parent)


@pytest.mark.parametrize("code", ["index-total", "index-disagrees", "index-twice", "index-name"])
def test_the_reader_refuses_it_with_the_same_code(parent: Path, code: str) -> None:
    next(spoil for name, spoil in SPOILT if name == code)(parent)
    with pytest.raises(BadCheckpoint, match=rf"\[{code}\]"):
        Checkpoint(parent)
