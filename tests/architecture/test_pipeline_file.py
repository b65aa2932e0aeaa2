"""dvc.yaml tells the truth: what a stage imports is what it depends on."""

from pathlib import Path

import pytest
import yaml

from tests.architecture.tree import ROOT, closure, modules

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# `python -m stages.parents train` made the shipped parents once; the stage never runs it
NOT_RUN = {"parents": frozenset({"stages.parents.train"})}
EMPTY = {path for path in modules().values() if not path.read_text().strip()}


@pytest.mark.parametrize("stage", PIPELINE)
def test_every_file_that_a_stage_imports_is_under_its_deps(stage: str) -> None:
    deps = [ROOT / dep for dep in PIPELINE[stage]["deps"]]
    reached = closure(f"stages.{stage}.__main__", without=NOT_RUN.get(stage, frozenset()))
    outside = [
        str(path.relative_to(ROOT))
        for name in sorted(reached)
        if (path := modules()[name]) not in EMPTY and not any(_under(path, dep) for dep in deps)
    ]
    assert not outside


@pytest.mark.parametrize("stage", PIPELINE)
def test_every_dependency_exists_or_is_made_by_an_earlier_stage(stage: str) -> None:
    made = [
        ROOT / out
        for name in PIPELINE
        for kind in ("outs", "metrics", "plots")
        for entry in PIPELINE[name].get(kind, [])
        for out in entry
    ]
    missing = [
        dep
        for dep in PIPELINE[stage]["deps"]
        if not (ROOT / dep).exists() and not any(_under(ROOT / dep, out) for out in made)
    ]
    assert not missing


@pytest.mark.parametrize("stage", [name for name in PIPELINE if name != "eligibility"])
def test_stages_that_produce_bytes_depend_on_the_locked_environment(stage: str) -> None:
    assert "constraints.txt" in PIPELINE[stage]["deps"]


def test_outputs_are_never_kept_from_an_earlier_run() -> None:
    assert "persist" not in (ROOT / "dvc.yaml").read_text()


def test_dvc_ignores_what_is_no_code() -> None:
    lines = (ROOT / ".dvcignore").read_text().splitlines()
    assert {"__pycache__/", "*.pyc", "*.md"} <= set(lines)


def _under(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
