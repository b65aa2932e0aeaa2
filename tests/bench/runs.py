"""Runs a child process to its end: processor time, wall time and peak anonymous memory of its whole tree."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Run:
    """One run, in seconds and bytes. whole_*: from process start to end; cpu, wall: of the work alone."""

    cpu: float
    wall: float
    whole_cpu: float
    whole_wall: float
    anonymous: int
    files: dict[str, str]


def child(job: dict[str, Any]) -> Run:
    """Run tests.bench.child on a job."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run, text = command([sys.executable, "-m", "tests.bench.child"], json.dumps(job), environment)
    told = json.loads(text)
    return Run(told["cpu"], told["wall"], run.whole_cpu, run.whole_wall, run.anonymous, told["files"])


def command(words: Sequence[str], request: str, environment: dict[str, str]) -> tuple[Run, str]:
    """Run a command and return its measures and standard output. Raises RuntimeError if it fails."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(request.encode())
        given.seek(0)
        began = time.monotonic()
        process = subprocess.Popen(words, stdin=given, stdout=out, stderr=err, env=environment, cwd=ROOT)
        peak, status = 0, 0
        while True:
            peak = max(peak, sum(map(_anonymous, _tree(process.pid))))
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(POLL_SECONDS)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(words)} failed:\n{err.read().decode(errors='replace')[-4000:]}")
        cpu = used.ru_utime + used.ru_stime
        return Run(cpu, wall, cpu, wall, peak, {}), out.read().decode()


def _tree(pid: int) -> list[int]:
    """A process and its descendants, as far as they can be seen."""
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return found


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)
