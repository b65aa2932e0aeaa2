"""The whole pipeline, for real, on the shipped parents with the smallest budget and suite."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.pipeline.laboratory import SMALL, Laboratory
from tests.test_compose import RULES


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """A laboratory after its first run, committed."""
    laboratory = Laboratory(tmp_path_factory.mktemp("finished") / "lab")
    laboratory.run("run", *SMALL)
    laboratory.commit("first run")
    return laboratory


def drop_cache(laboratory: Laboratory) -> None:
    shutil.rmtree(laboratory.folder / ".mergelab")


def wait_between_two_merges(process: "subprocess.Popen[bytes]", store: Path) -> None:
    """Return when one candidate is finished and another is being made."""
    deadline = time.monotonic() + 120
    while not (list(store.glob("[!.]*")) and list(store.glob(".draft-*"))):
        assert process.poll() is None, "the search ended before it could be stopped"
        assert time.monotonic() < deadline, "no moment between two merges was met"
        os.sched_yield()


def test_a_run_ends_with_an_outcome_for_each_candidate_and_a_report(finished: Laboratory) -> None:
    index = json.loads((finished.folder / "data/candidates/index.json").read_text())
    rows = json.loads((finished.folder / "reports/front.json").read_text())
    outcomes = [row for row in rows if row["kind"] == "candidate"]
    assert len(index["candidates"]) == 4
    assert {row["id"] for row in outcomes} == {row["id"] for row in index["candidates"]}
    assert all(row["outcome"] and row["reason"] for row in outcomes)
    assert (finished.folder / "reports/report.html").stat().st_size > 10_000


def test_a_second_run_runs_no_stage_and_changes_nothing(finished: Laboratory) -> None:
    said = finished.run("run")
    assert "Running stage" not in said
    assert "up to date" in said
    assert finished.git("status", "--porcelain") == ""


def test_deleted_weights_are_rebuilt_to_the_same_bytes(finished: Laboratory) -> None:
    before = finished.lock()
    drop_cache(finished)
    for weights in finished.folder.glob("data/candidates/*/*.safetensors"):
        weights.unlink()
    finished.dvc("repro")
    assert finished.lock() == before
    assert finished.git("status", "--porcelain") == ""
    assert all((folder / "model.safetensors").is_file() for folder in finished.candidates())


@pytest.mark.parametrize("environment", [{}, {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "default"}])
def test_every_candidate_verifies(finished: Laboratory, environment: dict[str, str]) -> None:
    said = finished.run("verify", "--all", **environment)
    assert said.count("MATCH") == 4


def test_a_search_killed_in_the_middle_of_the_merges_ends_with_the_same_lock(
    finished: Laboratory, tmp_path: Path
) -> None:
    laboratory = Laboratory(tmp_path / "lab")
    process = laboratory.start("run", *SMALL, "executor=serial")
    store = laboratory.folder / ".mergelab/candidates"
    wait_between_two_merges(process, store)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (laboratory.folder / "data/candidates/index.json").exists()
    laboratory.run("run", *SMALL)
    assert laboratory.lock() == finished.lock()
    assert not list(store.glob(".draft-*"))


def test_an_altered_parent_is_refused_before_any_merge(finished: Laboratory, tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path / "lab", git=False)
    laboratory.run("compose", *SMALL)
    source = next((laboratory.folder / "data/sources").glob("*/model.safetensors"))
    shutil.copytree(finished.folder / "data/parents", laboratory.folder / "data/parents")
    shutil.copy2(finished.folder / "data/eligibility.json", laboratory.folder / "data/eligibility.json")
    altered = laboratory.folder / "data/parents" / source.parent.name / "model.safetensors"
    flipped = bytearray(altered.read_bytes())
    flipped[-1] ^= 1
    altered.unlink()
    altered.write_bytes(flipped)
    with pytest.raises(AssertionError, match=r"sha256"):
        laboratory.python("-m", "stages.merge")


def test_a_copy_without_git_runs_too(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path / "lab", git=False)
    laboratory.run("run", *SMALL)
    assert "up to date" in laboratory.run("run")


def test_dvc_composes_the_same_params_as_mergelab_does(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path / "lab")
    overrides = ["method=ties", *SMALL, "experiment.title=One two three"]
    laboratory.run("compose", *overrides)
    ours = (laboratory.folder / "params.yaml").read_text()
    laboratory.git("checkout", "--quiet", "params.yaml")
    sets = [word for override in overrides for word in ("-S", override)]
    laboratory.dvc("exp", "run", "--quiet", *sets, "parents")
    assert (laboratory.folder / "params.yaml").read_text() == ours
    assert list(yaml.safe_load(ours)["method"]) == ["ties"]


def test_dvc_composes_rules_and_lines_as_mergelab_does(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path / "lab")
    experiment = laboratory.folder / "conf/experiment"
    text = (experiment / "shipped.yaml").read_text()
    text = text.replace("experiment:", "defaults:\n  - override /method: ties\nexperiment:", 1) + RULES
    (experiment / "ruled.yaml").write_text(text)
    laboratory.commit("an experiment with rules")
    laboratory.run("compose", "experiment=ruled")
    ours = (laboratory.folder / "params.yaml").read_text()
    laboratory.git("checkout", "--quiet", "params.yaml")
    laboratory.dvc("exp", "run", "--quiet", "-S", "experiment=ruled", "parents")
    assert (laboratory.folder / "params.yaml").read_text() == ours
    assert yaml.safe_load(ours)["method"]["ties"]["lines"] == {"value": [0.2, 0.8, 1.0]}


def test_a_multirun_makes_one_experiment_per_job_and_leaves_the_working_tree_alone(
    finished: Laboratory,
) -> None:
    said = finished.run("run", "-m", "method=ties,slerp", "budget=smoke", "suite=smoke")
    assert finished.git("status", "--porcelain") == ""
    listed = json.loads(finished.dvc("exp", "show", "--json"))
    names = [experiment["name"] for row in listed for experiment in row.get("experiments") or []]
    assert sorted(name.split("-")[0] for name in names) == ["slerp", "ties"]
    assert all(name in said for name in names)


def test_ctrl_c_loses_one_merge_at_most_and_leaves_no_worker(finished: Laboratory, tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path / "lab")
    process = laboratory.start("run", *SMALL, "executor=serial")
    store = laboratory.folder / ".mergelab/candidates"
    wait_between_two_merges(process, store)
    kept = {path.name for path in store.glob("[!.]*")}
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert kept <= {path.name for path in store.iterdir()}
    assert not list(store.glob(".draft-*"))
    laboratory.run("run")
    assert laboratory.lock() == finished.lock()
