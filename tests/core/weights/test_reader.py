"""Checkpoint directories: what is found, what is refused, and what differs."""

import json
from pathlib import Path

import pytest
import torch

from stages.core.errors import BadCheckpoint
from stages.core.weights.reader import INDEX, SINGLE, Checkpoint, compare
from tests.core.weights.family import save, state


def write_index(directory: Path, placed: object) -> None:
    """An index file with that weight_map."""
    (directory / INDEX).write_text(json.dumps({"weight_map": placed}))


def test_reading_gives_back_each_tensor(tmp_path: Path) -> None:
    tensors = {**state(1, torch.bfloat16), "ids": torch.arange(7), "on": torch.tensor(True)}
    save(tensors, tmp_path / SINGLE)
    found = Checkpoint(tmp_path)
    assert list(found.tensors) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found.read(name), tensor)
        assert found.read(name).dtype == tensor.dtype


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../model.safetensors", "index-name"),
        ("/etc/passwd", "index-name"),
        ("sub/a.safetensors", "index-name"),
        (".hidden.safetensors", "index-name"),
        ("pytorch_model.bin", "index-name"),
        ("a\u0000.safetensors", "index-name"),
        ("absent.safetensors", "file-missing"),
    ],
)
def test_an_index_cannot_lead_out_of_the_directory(tmp_path: Path, name: str, code: str) -> None:
    write_index(tmp_path, {"w": name})
    with pytest.raises(BadCheckpoint, match=rf"^\[{code}\]"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("placed", [{}, [], {"w": 1}, None])
def test_an_index_without_a_map_is_refused(tmp_path: Path, placed: object) -> None:
    write_index(tmp_path, placed)
    with pytest.raises(BadCheckpoint, match=r"^\[index-json\]"):
        Checkpoint(tmp_path)


def test_an_index_must_agree_with_its_shards(tmp_path: Path) -> None:
    save({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "one.safetensors")
    save({"c": torch.ones(1)}, tmp_path / "two.safetensors")
    wrong = [
        {"a": "one.safetensors", "c": "two.safetensors"},
        {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"},
        {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors", "d": "two.safetensors"},
    ]
    for placed in wrong:
        write_index(tmp_path, placed)
        with pytest.raises(BadCheckpoint, match=r"^\[index-disagrees\].* on (b|d)\."):
            Checkpoint(tmp_path)
    write_index(tmp_path, {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})
    assert sorted(Checkpoint(tmp_path).tensors) == ["a", "b", "c"]


def test_one_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    save({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    save({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "two.safetensors")
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    with pytest.raises(BadCheckpoint, match=r"^\[index-twice\]"):
        Checkpoint(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    save({"a": torch.ones(1)}, tmp_path / "elsewhere.safetensors")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / SINGLE).symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(BadCheckpoint, match=r"^\[file-missing\].* or it is a link"):
        Checkpoint(tmp_path / "model")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(BadCheckpoint, match=r"^\[no-weights\]"):
        Checkpoint(tmp_path)


def test_two_sets_of_weights_are_ambiguous(tmp_path: Path) -> None:
    save({"a": torch.ones(1)}, tmp_path / SINGLE)
    write_index(tmp_path, {"a": SINGLE})
    with pytest.raises(BadCheckpoint, match=r"^\[ambiguous\]"):
        Checkpoint(tmp_path)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / SINGLE).mkdir()
    with pytest.raises(BadCheckpoint, match=r"^\[not-a-file\]"):
        Checkpoint(tmp_path)


def test_compare_names_every_difference(tmp_path: Path) -> None:
    first = {"same": torch.ones(3), "bytes": torch.zeros(3), "shape": torch.ones(2), "mine": torch.ones(1)}
    second = {"same": torch.ones(3), "bytes": torch.tensor([0.0, 1.0, 0.0]), "shape": torch.ones(1, 2)}
    for name, tensors in (("a", first), ("b", second)):
        (tmp_path / name).mkdir()
        save(tensors, tmp_path / name / SINGLE)
    assert compare(tmp_path / "a", tmp_path / "a") == []
    assert compare(tmp_path / "a", tmp_path / "b") == [
        "bytes: 2 of 12 bytes differ",
        f"mine: only in {tmp_path / 'a'}",
        "shape: float32 [2] against float32 [1, 2]",
    ]
