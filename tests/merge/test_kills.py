"""SIGKILL at 50 seeded instants of real merge stages: nothing lost or half published, the same digests."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.architecture.tree import ROOT

KILLED = -9
FAILED = 1  # a stage whose worker was killed says so and ends
TIMES = int(os.environ.get("MERGELAB_TEST_KILLS", "1"))  # 50 instants, so many times over


def instants(inputs: Path, seed: int, who: str, count: int) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mortal.py")), str(inputs), str(seed), who, str(count)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert len(found) == count
    return found


def check(one: dict[str, Any]) -> None:
    """What must hold after any death and the run that follows it."""
    assert one["torn"] == [], one
    assert one["next"] == 0, one
    assert one["same"], one
    assert one["kept"], f"what was finished is made again: {one}"
    assert one["drafts"] == [], one


def test_a_stage_killed_at_any_instant_loses_one_merge_at_most(inputs: Path) -> None:
    found = instants(inputs, 4, "stage", 40 * TIMES)
    for one in found:
        assert one["status"] == KILLED, one
        check(one)
    finished = [len(one["finished"]) for one in found]
    assert set(finished) == {0, 1, 2}, "instants lie before, between and after the two merges"


def test_a_worker_killed_at_any_instant_publishes_nothing(inputs: Path) -> None:
    for one in instants(inputs, 5, "worker", 10 * TIMES):
        assert one["status"] == FAILED, one
        assert "ended by SIGKILL" in one["log"], one
        check(one)
