import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from stages.conf import Parents, Suite
from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import read_json, write_json
from stages.core.records.policy import GatePolicy
from stages.core.scoring.skills import SKILLS
from stages.gate.stage import Places, run
from tests.core.scoring.tiny import change, seal, tiny
from tests.inside import this_process

POLICY = GatePolicy(norm_ratio=2, outlier_ratio=4, perplexity_ratio=1.5, smoke_items=2)
SKILL = SKILLS[2]
SUITE = Suite.model_validate(
    {
        "name": "toy",
        "version": 1,
        "items": {"calibration": 2, "search": 2, "selection": 2, "hidden": 2},
        "tasks": {"task": {"skill": SKILL.name, "kind": SKILL.kind}},
    }
)
PARENTS = Parents.model_validate(
    {
        "base": "base",
        "merge": ["a", "b"],
        "members": {
            name: {"source": {"kind": "path", "path": f"models/{name}"}} for name in ("base", "a", "b")
        },
        "complementarity": "none at all",
    }
)


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    with this_process():
        yield


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return laid_out(tmp_path)


def laid_out(tmp_path: Path) -> Places:
    """A base, two parents, a sound candidate and one with a blown norm."""
    found = Places(*(tmp_path / name for name in ("parents", "candidates", "gates.json", "run.json")))
    for seed, name in enumerate(("base", "a", "b")):
        tiny(found.parents / name, seed)
    entries = []
    for name, factor in (("f00000000000", 1), ("0bad00000000", 9)):
        folder = found.candidates / name
        shutil.copytree(found.parents / "a", folder)
        change(
            folder, "model.norm.weight", load_file(folder / "model.safetensors")["model.norm.weight"] * factor
        )
        entries.append({"id": name, "artifact": seal(folder)})
    write_json(found.candidates / "index.json", {"candidates": entries, "refused": None})
    return found


def judge(places: Places) -> list[tuple[int, int, int]]:
    told: list[tuple[int, int, int]] = []
    run(SUITE, PARENTS, POLICY, places, lambda *counts: told.append(counts))
    return told


def test_every_candidate_gets_a_verdict_and_rejection_is_a_result(places: Places) -> None:
    assert judge(places) == [(1, 0, 4), (2, 0, 4), (3, 0, 4), (4, 1, 4)], "two parents, then two candidates"
    gates = read_json(places.gates)
    assert gates["schema"] == "mergelab/gates/1"
    assert {name: verdict["passed"] for name, verdict in gates["candidates"].items()} == {
        "f00000000000": True,
        "0bad00000000": False,
    }


def test_the_same_candidates_give_the_same_bytes(places: Places) -> None:
    judge(places)
    first = places.gates.read_bytes()
    judge(places)
    assert places.gates.read_bytes() == first


@pytest.mark.parametrize("whose", ["candidates/f00000000000", "parents/b", "parents/base"])
def test_one_altered_byte_stops_the_stage(places: Places, whose: str) -> None:
    weights = places.gates.parent / whose / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BadCheckpoint, match="changed: expected sha256"):
        judge(places)
    assert not places.gates.exists()


def test_a_candidate_that_is_not_the_one_in_the_index_stops_the_stage(places: Places) -> None:
    folder = places.candidates / "f00000000000"
    change(folder, "model.norm.weight", load_file(folder / "model.safetensors")["model.norm.weight"] * 1.1)
    with pytest.raises(BadCheckpoint, match="expected artifact"):
        judge(places)


def test_a_refused_merge_has_no_verdicts(places: Places) -> None:
    write_json(places.candidates / "index.json", {"candidates": [], "refused": "not of one family"})
    judge(places)
    assert read_json(places.gates)["candidates"] == {}
