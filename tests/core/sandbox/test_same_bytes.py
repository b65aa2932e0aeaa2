"""The executor is no part of identity: a locked worker writes the bytes that this process writes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.sandbox.launch import Isolation, run
from stages.core.weights.numerics import LEAF
from stages.core.weights.writer import preallocate
from tests.core.weights.family import planned, recipe, values
from tests.core.weights.merging import checkpoints, written

# one of a kind: exact selection, masks with sums over leaves, decimal angles
METHODS: dict[str, dict[str, Any]] = {
    "ties": {"density": 0.3, "weights": [1.0, 0.7]},
    "dare_linear": {"drop": 0.3, "rescale": "l1"},
    "karcher": {"weights": [1.0, 0.7]},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_locked_worker_writes_the_digests_and_notes_of_a_merge_in_this_process(
    tmp_path: Path, method: str, level: str
) -> None:
    """Threads and blocks differ as well: two and one leaf there, one and four here."""
    states = []
    for place in range(3):
        moved = values(90 + place, (LEAF + 77,), 0.1 if place else 0.0, torch.float32)
        states.append({"w": (values(7, (LEAF + 77,), 1.0, torch.float32) + moved).bfloat16()})
    made, wanted = checkpoints(tmp_path / "family", *states), recipe(method, **METHODS[method])
    here = written(made, wanted, tmp_path / "here", threads=1, block_elements=4 * LEAF)
    plan, output = planned(made, wanted), tmp_path / "there"
    preallocate(plan, output)
    job = {
        "kind": "merge",
        "recipe": wanted.to_json(),
        "sources": {digest: str(folder) for digest, folder in made.sources.items()},
        "manifests": made.manifests,
        "output": str(output),
        "threads": 2,
        "block_elements": LEAF,
    }
    there = run(
        job,
        readable=list(made.sources.values()),
        writable=[output / name for name in plan.files],
        isolation=Isolation(level),
    )
    assert there.isolation["level"] == level
    assert there.result["files"] == dict(here.files)
    assert there.result["notes"] == dict(here.notes)
    name = "model.safetensors"
    assert (output / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
