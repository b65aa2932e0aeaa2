"""The whole way of a merge: pre-allocated files, a locked worker, digests that the parent can check."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stages.core.errors import BadCheckpoint
from stages.core.records import manifest
from stages.core.records.files import sha256_file
from stages.core.records.recipe import Recipe
from stages.core.sandbox.launch import Isolation, Outcome, run
from stages.core.weights.numerics import NUMERICS
from stages.core.weights.plan import plan
from stages.core.weights.writer import preallocate


@pytest.fixture
def parents(tmp_path: Path) -> dict[str, Path]:
    """Two checkpoints of one 3 × 5 tensor each, by digest, made of integers."""
    folders = {}
    for name, factor in (("a", 1.0), ("b", 3.0)):
        folder = tmp_path / name
        folder.mkdir()
        save_file({"w": np.arange(15, dtype=np.float32).reshape(3, 5) * factor}, folder / "model.safetensors")
        folders[manifest.describe(folder).digest] = folder
    return folders


def merge(parents: Mapping[str, Path], output: Path, level: str, steps: list[tuple[int, int]]) -> Outcome:
    recipe = Recipe(
        method="linear",
        method_version=1,
        base=None,
        parents=tuple(parents),
        parameters={"weights": (0.5, 0.5), "normalise": True},
        seed=0,
        output_dtype="float32",
        numerics=NUMERICS,
    )
    planned = plan(recipe, parents)
    preallocate(planned, output)
    manifests = {
        digest: {name: record.sha256 for name, record in manifest.describe(folder).files.items()}
        for digest, folder in parents.items()
    }
    job = {
        "kind": "merge",
        "recipe": recipe.to_json(),
        "sources": {digest: str(folder) for digest, folder in parents.items()},
        "manifests": manifests,
        "output": str(output),
        "threads": 1,
    }
    return run(
        job,
        readable=list(parents.values()),
        writable=[output / name for name in planned.files],
        isolation=Isolation(level),
        on_progress=lambda done, total: steps.append((done, total)),
    )


def test_a_locked_worker_writes_the_mean_of_its_parents(
    parents: Mapping[str, Path], tmp_path: Path, level: str
) -> None:
    steps: list[tuple[int, int]] = []
    done = merge(parents, tmp_path / "out", level, steps)
    written = {path.name: sha256_file(path) for path in (tmp_path / "out").iterdir()}
    assert done.result["files"] == written
    assert steps[-1] == (60, 60)  # 15 float32
    file = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert np.frombuffer(file[-60:], np.float32).tolist() == [2.0 * n for n in range(15)]
    assert done.isolation["level"] == level
    assert not done.isolation["degraded"]


def test_a_locked_worker_makes_the_index_of_a_parent(parents: Mapping[str, Path], level: str) -> None:
    def side(role: str, folder: Path) -> dict[str, object]:
        files = manifest.describe(folder).files
        sha256 = {name: record.sha256 for name, record in files.items()}
        return {"role": role, "folder": str(folder), "sha256": sha256}

    base, parent = parents.values()
    steps: list[tuple[int, int]] = []
    done = run(
        {"kind": "index", "base": side("base", base), "parent": side("parent 1", parent), "threads": 2},
        readable=[base, parent],
        isolation=Isolation(level),
        on_progress=lambda done, total: steps.append((done, total)),
    )
    raw = (parent / "model.safetensors").read_bytes()[-60:]
    digest = hashlib.sha256(raw).hexdigest()
    assert done.result == {"index": {"w": {"squares": [4060], "sha256": [digest]}}}  # 4 (0 + 1 + … + 196)
    assert (done.isolation["level"], steps[-1]) == (level, (60, 60))


def test_a_parent_altered_after_its_manifest_is_refused_with_the_code_of_the_worker(
    parents: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {folder: manifest.describe(folder) for folder in parents.values()}
    monkeypatch.setattr(manifest, "describe", before.__getitem__)
    file = next(iter(parents.values())) / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors") as caught:
        merge(parents, tmp_path / "out", "L2", [])
    assert caught.value.code == "file-altered"
