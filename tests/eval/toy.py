"""A small repository for the eval stage: a base, two parents, two candidates, one of them rejected."""

import dataclasses
import shutil
from pathlib import Path

from safetensors.torch import load_file

from stages.conf import Baselines, Parents, Suite
from stages.core.records.canonical import read_json, write_json
from stages.core.scoring.skills import SKILLS
from stages.eval.stage import Places, run
from stages.eval.workers import Workers
from tests.core.scoring.tiny import change, seal, tiny

FORMS = Path("conf/suite/lm_eval").absolute()
NAMES = ("base", "a", "b")
TASKS = {skill.name: {"skill": skill.name, "kind": skill.kind} for skill in SKILLS[:3]}
SUITE = Suite.model_validate(
    {
        "name": "toy",
        "version": 1,
        "items": {"calibration": 3, "search": 4, "selection": 2, "hidden": 6},
        "tasks": TASKS,
        "baselines": {"quantised": []},  # half a CPU second a run
    }
)
ROUNDED = SUITE.model_copy(update={"baselines": Baselines()})
PARENTS = Parents.model_validate(
    {
        "base": "base",
        "merge": ["a", "b"],
        "members": {name: {"source": {"kind": "path", "path": f"models/{name}"}} for name in NAMES},
        "complementarity": "none at all",
    }
)


def places_in(root: Path) -> Places:
    """Where everything lies in the repository at `root`."""
    data = root / "data"
    return Places(
        parents=data / "parents",
        candidates=data / "candidates",
        gates=data / "gates.json",
        forms=FORMS,
        ledger=data / "looks.json",
        store=root / "store/evidence",
        cases=data / "cases",
        evidence=data / "evidence",
        record=root / "store/runs/eval.json",
    )


def toy(root: Path) -> Places:
    """The repository at `root`, ready for the eval stage."""
    places = places_in(root)
    for seed, name in enumerate(NAMES):
        tiny(places.parents / name, seed)
    write_json(places.candidates / "index.json", {"refused": None, "candidates": []})
    write_json(places.gates, {"candidates": {}})
    for name, factor, passed in (("c00000000000", 0.9, True), ("d00000000000", 9.0, False)):
        add_candidate(places, name, factor, passed=passed)
    return places


def add_candidate(places: Places, name: str, factor: float, *, passed: bool = True) -> None:
    """Parent a with a scaled last norm, entered in the index and the gates."""
    folder = places.candidates / name
    shutil.copytree(places.parents / "a", folder)
    change(folder, "model.norm.weight", load_file(folder / "model.safetensors")["model.norm.weight"] * factor)
    index = read_json(places.candidates / "index.json")
    proposal = {"origin": "anchor", "index": 0, "label": f"times {factor:g}"}
    entry = {"id": name, "method": "linear", "proposal": proposal, "artifact": seal(folder)}
    write_json(places.candidates / "index.json", index | {"candidates": [*index["candidates"], entry]})
    gates = read_json(places.gates)["candidates"]
    write_json(places.gates, {"candidates": gates | {name: {"passed": passed, "findings": []}}})


def evaluate(places: Places, workers: int = 1, suite: Suite = SUITE) -> list[tuple[int, int, int]]:
    """Run the stage; what it told of its progress."""
    told: list[tuple[int, int, int]] = []
    run(suite, PARENTS, places, Workers(at_once=workers), lambda *counts: told.append(counts))
    return told


def outputs(places: Places) -> dict[str, bytes]:
    """Every output file of the stage, by its path under data/."""
    return {
        str(path.relative_to(folder.parent)): path.read_bytes()
        for folder in (places.cases, places.evidence)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def elsewhere(places: Places, root: Path) -> Places:
    """The same inputs with an empty store and other outputs."""
    return dataclasses.replace(
        places,
        store=root / "store/evidence",
        cases=root / "data/cases",
        evidence=root / "data/evidence",
        record=root / "store/runs/eval.json",
    )
