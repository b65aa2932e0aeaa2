"""The whole way of a merge: pre-allocated files, a locked worker, digests that the parent can check."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stages.core.errors import BadCheckpoint, LabError
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
        "block_elements": None,
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


def test_an_altered_parent_is_refused_by_the_code_that_the_worker_gave(
    parents: Mapping[str, Path], tmp_path: Path
) -> None:
    digest, folder = next(iter(parents.items()))
    wrong = {digest[::-1]: folder} | {key: path for key, path in parents.items() if key != digest}
    with pytest.raises(LabError):
        merge(dict(list(wrong.items())[:1]), tmp_path / "one", "L2", [])
    file = folder / "model.safetensors"
    honest = manifest.describe(folder)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    original, describe = file.read_bytes(), manifest.describe
    assert original != bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "describe", lambda path: honest if path == folder else describe(path))
        file.write_bytes(bytes(data))
        with pytest.raises(BadCheckpoint, match="sha256|altered|digest"):
            merge(parents, tmp_path / "two", "L2", [])
