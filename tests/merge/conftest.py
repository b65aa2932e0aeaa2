"""A family of three tiny acquired parents, a request for merging them, and the workshop around both."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from stages.conf import Request
from stages.core.records import manifest as manifests
from stages.core.records.canonical import write_json
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits
from stages.merge.build import Workshop, acquire
from stages.merge.recipe_file import Folders

SHAPES = {"embed.weight": (33, 7), "layer.0.weight": (129, 65), "norm.weight": (7,)}


@pytest.fixture
def parents(tmp_path: Path) -> Path:
    """data/parents with base, left and right: float32 from Philox, left and right near the base."""
    generator = np.random.Generator(np.random.Philox(5))
    base = {name: generator.random(shape, dtype=np.float32) - 0.5 for name, shape in SHAPES.items()}
    for name in ("base", "left", "right"):
        folder = tmp_path / "parents" / name
        folder.mkdir(parents=True)
        away = 0.0 if name == "base" else 0.125
        moved = {
            key: value + away * (generator.random(value.shape, dtype=np.float32) - 0.5)
            for key, value in base.items()
        }
        save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps({"model_type": "tiny"}))
        (folder / "tokenizer.json").write_text("{}")
        write_json(folder / manifests.NAME, manifests.describe(folder).to_json())
        write_json(folder / "card.json", {"id": name, "licence": {"weights": "Apache-2.0", "data": []}})
    return tmp_path / "parents"


@pytest.fixture
def workshop(parents: Path) -> Workshop:
    """Locked at L2, so that every machine gives the same lineage."""
    roles = {"base": "base", "left": "parent", "right": "parent"}
    return Workshop(
        family=tuple(acquire(parents / name, name, role) for name, role in roles.items()),
        isolation=Isolation("L2", "L2"),
        limits=Limits(wall_seconds=60, cpu_seconds=60),
        environment={"constraints_sha256": "0" * 64, "python": "3", "torch": "2"},
    )


@pytest.fixture
def request_for(parents: Path) -> Request:
    """linear and ties: one anchor each and one searched point of ties."""
    tree = {
        "experiment": {"id": "tiny", "title": "Tiny", "question": "Does the merge stage work?"},
        "parents": {
            "base": "base",
            "merge": ["left", "right"],
            "members": {
                name: {"source": {"kind": "path", "path": str(parents / name)}}
                for name in ("base", "left", "right")
            },
            "complementarity": "They differ.",
        },
        "method": {
            "linear": {"version": 1, "source": "arXiv 2203.05482", "weights": {"value": 1.0}},
            "ties": {
                "version": 1,
                "source": "arXiv 2306.01708",
                "density": {"value": 0.2, "search": [0.05, 0.6]},
            },
        },
        "budget": {"candidates": 3},
        "policy": _policy(),
        "isolation": {
            "level": "L2",
            "minimum": "L2",
            "wall_seconds": 60,
            "cpu_seconds": 60,
            "memory_bytes": 1 << 31,
        },
        "suite": {
            "name": "none",
            "version": 1,
            "items": {"calibration": 1, "search": 1, "selection": 1, "hidden": 1},
            "tasks": {"copy": {"skill": "copy", "kind": "shared"}},
        },
        "executor": {"workers": 2},
        "seed": 1,
    }
    return Request.model_validate(tree)


@pytest.fixture
def inputs(request_for: Request, parents: Path, tmp_path: Path) -> Path:
    """The folder in which `python -m stages.merge` can run: params.yaml, constraints.txt and data/."""
    folder = tmp_path / "inputs"
    (folder / "data").mkdir(parents=True)
    parents.rename(folder / "data/parents")
    wanted = request_for.model_copy(
        update={"budget": request_for.budget.model_copy(update={"candidates": 2})}
    )
    (folder / "params.yaml").write_text(yaml.safe_dump(wanted.model_dump(mode="json")))
    (folder / "constraints.txt").write_text("none\n")
    write_json(folder / "data/eligibility.json", {"passed": True, "findings": []})
    return folder


@pytest.fixture
def where(tmp_path: Path) -> Folders:
    """org/base, org/writer, org/coder and org/poet: four layers and three tokens with a row each."""
    found = {}
    for name in ("base", "writer", "coder", "poet"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"num_hidden_layers": 4, "vocab_size": 3}))
        tokenizer = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 2, "content": "<s>"}]}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        found[f"org/{name}"] = folder
    return Folders(tmp_path, found)


def _policy() -> object:
    from tests.architecture.tree import ROOT

    return yaml.safe_load((ROOT / "conf/policy/default.yaml").read_text())
