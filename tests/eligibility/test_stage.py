"""The stage from files to files: acquired parents and a request in, data/eligibility.json out."""

import json
from pathlib import Path
from typing import Any

import yaml

from stages.conf import Request, parse
from stages.eligibility.__main__ import run
from tests.eligibility.family import LICENCES, NAMES, STATEMENT, acquired, policy

CONF = LICENCES.parent


def group(name: str) -> Any:
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())


def request(**parents: Any) -> Request:
    """A request for the tiny family, with everything else as it ships."""
    members = {name: {"source": {"kind": "repository", "path": f"sources/{name}"}} for name in NAMES}
    family = {
        "base": "base",
        "merge": ["sort", "shift"],
        "members": members,
        "complementarity": STATEMENT,
    }
    items = {"calibration": 8, "search": 8, "selection": 8, "hidden": 24}
    tasks = {
        name: {"skill": name, "kind": f"niche:{letter}", "parent": name}
        for name, letter in (("sort", "b"), ("shift", "a"))
    }
    tree = {
        "experiment": {"id": "tiny", "title": "tiny", "question": "does the stage write what it found?"},
        "parents": {**family, **parents},
        "method": {name: {"version": 1, "source": "arXiv 0000.00000"} for name in ("linear", "ties")},
        "budget": group("budget/smoke"),
        "policy": {**group("policy/default"), "eligibility": policy().model_dump()},
        "isolation": group("isolation/auto"),
        "suite": {"name": "tiny", "version": 1, "items": items, "tasks": tasks},
        "executor": group("executor/serial"),
        "seed": 0,
    }
    return parse(tree, "params.yaml")


def test_a_passing_verdict_names_parents_in_order_base_methods_and_rung(tmp_path: Path) -> None:
    family = {name: acquired(tmp_path / name) for name in NAMES}
    output = tmp_path / "out" / "eligibility.json"
    assert run(request(), tmp_path, LICENCES, output).passed
    written = json.loads(output.read_text())
    assert written["schema"] == "mergelab/eligibility/1"
    assert written["passed"] is True
    assert written["parents"] == [
        {"id": "sort", "digest": family["sort"].manifest.digest},
        {"id": "shift", "digest": family["shift"].manifest.digest},
    ]
    assert written["base"] == {"id": "base", "digest": family["base"].manifest.digest}
    assert written["methods"] == ["linear", "ties"]
    assert written["recommendation"]["rung"] == "task-vector-arithmetic"


def test_a_refusal_is_written_with_its_reasons_and_raises_nothing(tmp_path: Path) -> None:
    for name in NAMES:
        acquired(tmp_path / name)
    output = tmp_path / "eligibility.json"
    assert not run(request(complementarity="because"), tmp_path, LICENCES, output).passed
    written = json.loads(output.read_text())
    assert [finding["rule"] for finding in written["findings"] if not finding["passed"]] == [
        "complementarity"
    ]


def test_the_verdict_is_the_same_bytes_wherever_the_parents_lie(tmp_path: Path) -> None:
    texts = []
    for place in ("one", "two"):
        for name in NAMES:
            acquired(tmp_path / place / name)
        run(request(), tmp_path / place, LICENCES, tmp_path / f"{place}.json")
        texts.append((tmp_path / f"{place}.json").read_bytes())
    assert texts[0] == texts[1]
    assert str(tmp_path).encode() not in texts[0]
