"""The walls of the house: who may import what, kept from the first commit."""

import importlib
import subprocess
import sys

import pytest

from stages.core.sandbox import jobs
from tests.architecture.tree import ROOT, closure, imports, modules

STAGES = ("parents", "eligibility", "merge", "gate", "eval", "pareto")
ROOMS_BELOW = {
    "records": (),
    "weights": ("records",),
    "scoring": ("records", "weights"),
    "sandbox": ("records", "weights", "scoring"),
}
NETWORK = {
    "socket",
    "ssl",
    "http",
    "urllib",
    "urllib3",
    "requests",
    "httpx",
    "httpx2",
    "aiohttp",
    "huggingface_hub",
    "ftplib",
}
PROCESSES = {"subprocess", "multiprocessing", "pty"}
TORCH_FREE = (
    "stages.cli",
    "stages.compose",
    "stages.conf",
    "stages.eligibility.__main__",
    "stages.eval.__main__",
    "stages.gate.__main__",
    "stages.pareto.__main__",
    "stages.core.weights.basin",
    "stages.core.weights.registry",
    "stages.core.weights.plan",
    "stages.core.scoring.intervals",
    "stages.core.scoring.skills",
)


def importers(of: set[str], *, allowed: tuple[str, ...]) -> list[str]:
    """Modules outside the `allowed` packages that import any top-level package in `of`."""
    return [
        f"{name} imports {imported}"
        for name, path in modules().items()
        for imported in imports(path)
        if imported.split(".")[0] in of and not name.startswith(allowed)
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage(stage: str) -> None:
    others = tuple(f"stages.{other}" for other in STAGES if other != stage)
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        if f"{name}.".startswith(f"stages.{stage}.")  # a module beside the folder may begin with its name
        for imported in imports(path)
        if imported.startswith(others)
        or imported.startswith(("stages.cli", "stages.compose", "stages.running", "stages.sweep"))
    ]
    assert not wrong


@pytest.mark.parametrize("room", ROOMS_BELOW)
def test_a_room_of_core_imports_only_itself_and_the_rooms_below(room: str) -> None:
    allowed = tuple(f"stages.core.{name}" for name in ("errors", room, *ROOMS_BELOW[room]))
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        if name.startswith(f"stages.core.{room}")
        for imported in imports(path)
        if imported.split(".")[0] == "stages" and not imported.startswith(allowed)
    ]
    assert not wrong


def test_only_eval_and_scoring_import_transformers_or_lm_eval() -> None:
    allowed = ("stages.eval", "stages.core.scoring")
    assert not importers({"transformers", "lm_eval", "datasets", "accelerate"}, allowed=allowed)


def test_only_parents_may_reach_a_network() -> None:
    # the sandbox proves that its sockets are refused, by trying one
    assert not importers(NETWORK, allowed=("stages.parents", "stages.core.sandbox"))


def test_only_the_sandbox_starts_processes() -> None:
    assert not importers(PROCESSES, allowed=("stages.core.sandbox",))


@pytest.mark.parametrize("kind", jobs.ELSEWHERE)
def test_a_job_of_another_room_is_where_the_worker_looks_for_it(kind: str) -> None:
    module = importlib.import_module(jobs.ELSEWHERE[kind])
    assert kind == module.KIND
    assert module.__name__.startswith(("stages.core.scoring", "stages.core.weights"))
    assert jobs.find(kind) is module.run


def test_starting_merges_depends_on_nothing_that_scores() -> None:
    assert not [name for name in closure("stages.merge.__main__") if name.startswith("stages.core.scoring")]


def test_core_knows_neither_dvc_nor_hydra() -> None:
    inside = [f"stages.{name}" for name in (*STAGES, "cli", "compose", "sweep")]
    assert not importers(
        {"dvc", "hydra", "omegaconf"},
        allowed=("stages.compose", "stages.sweep", "stages.running", "stages.parents.sources.dvc"),
    )
    assert inside


@pytest.mark.parametrize("module", TORCH_FREE)
def test_import_does_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'transformers', 'lm_eval'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_merge_method_touches_no_files_clocks_logs_or_global_generators() -> None:
    forbidden = {"os", "io", "pathlib", "logging", "time", "datetime", "random", "secrets", "torch", "numpy"}
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        if name.startswith("stages.core.weights.methods.")
        for imported in imports(path, at_run_time_only=True)
        if imported.split(".")[0] in forbidden
    ]
    assert not wrong
