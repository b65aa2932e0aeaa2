"""Digests are remembered for exactly as long as a file was not touched."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stages.core.records import files, seen
from stages.core.records.files import sha256_bytes, sha256_file
from stages.core.records.seen import Seen, stamp


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough at once."""
    monkeypatch.setattr(seen, "SETTLED_NS", -60_000_000_000)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def digest(memory: Seen, file: Path) -> str:
    return memory.digests([file], lambda files: [sha256_file(one) for one in files])[file]


def in_place_with_the_old_time(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"WEIGHTS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def renamed_over(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"WEIGHTS")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def test_a_file_is_hashed_once(
    weights: Path, tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []

    def taken(files: Sequence[Path]) -> list[str]:
        hashed.extend(files)
        return [sha256_file(file) for file in files]

    for _ in range(3):
        assert Seen(tmp_path / "seen.json").digests([weights], taken) == {weights: sha256_bytes(b"weights")}
    assert hashed == [weights]


@pytest.mark.parametrize("change", [in_place_with_the_old_time, renamed_over])
def test_a_change_that_keeps_size_and_time_is_noticed(
    weights: Path, tmp_path: Path, settled: None, change: Callable[[Path], None]
) -> None:
    memory = Seen(tmp_path / "seen.json")
    assert digest(memory, weights) == sha256_bytes(b"weights")
    mtime, ctime = weights.stat().st_mtime_ns, weights.stat().st_ctime_ns
    while weights.stat().st_ctime_ns == ctime:  # until the file system's clock has ticked
        change(weights)
    assert (weights.stat().st_size, weights.stat().st_mtime_ns) == (7, mtime)
    assert memory.stamp(weights, sha256_bytes(b"weights")) is None
    assert digest(memory, weights) == sha256_bytes(b"WEIGHTS")


def test_a_file_that_has_just_changed_is_not_remembered(weights: Path, tmp_path: Path) -> None:
    memory = Seen(tmp_path / "seen.json")
    digest(memory, weights)
    assert memory.stamp(weights, sha256_bytes(b"weights")) is None
    assert not (tmp_path / "seen.json").exists()


def test_a_stamp_is_given_only_for_the_digest_remembered(
    weights: Path, tmp_path: Path, settled: None
) -> None:
    memory = Seen(tmp_path / "seen.json")
    digest(memory, weights)
    assert memory.stamp(weights, sha256_bytes(b"weights")) == stamp(weights.stat())
    assert memory.stamp(weights, sha256_bytes(b"other")) is None


def test_a_digest_of_other_bytes_than_the_stamp_saw_is_not_noted(
    weights: Path, tmp_path: Path, settled: None
) -> None:
    memory = Seen(tmp_path / "seen.json")
    before = stamp(weights.stat())
    renamed_over(weights)
    memory.note([(weights, before, sha256_bytes(b"weights"))])
    assert not (tmp_path / "seen.json").exists()


def test_a_spoilt_memory_is_an_empty_one(weights: Path, tmp_path: Path, settled: None) -> None:
    (tmp_path / "seen.json").write_text("{")
    assert digest(Seen(tmp_path / "seen.json"), weights) == sha256_bytes(b"weights")
    (tmp_path / "seen.json").write_text("[]")
    assert digest(Seen(tmp_path / "seen.json"), weights) == sha256_bytes(b"weights")


def test_without_a_place_nothing_is_remembered(weights: Path, settled: None) -> None:
    memory = Seen(None)
    assert digest(memory, weights) == sha256_bytes(b"weights")
    assert memory.stamp(weights, sha256_bytes(b"weights")) is None


def test_the_cache_of_a_user_follows_the_xdg_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "mergelab"
