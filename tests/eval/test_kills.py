"""SIGKILL at seeded instants of the gate and the evaluation: nothing half published, the same bytes again."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import ROOT

KILLED = -9
EACH = 3  # instants of each stage


def test_a_gate_or_an_evaluation_killed_at_any_instant_ends_the_same_next_time(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mortal.py")), str(tmp_path), "6", str(EACH)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert [one["stage"] for one in found] == ["gate"] * EACH + ["eval"] * EACH
    for one in found:
        assert one["status"] == KILLED, one
        assert one["torn"] == [], one
        assert one["next"] == 0, one
        assert one["same"], one
        assert one["left"] == [], one
