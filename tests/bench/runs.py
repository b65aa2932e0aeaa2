"""Runs a child process to its end: processor time, wall time and peak memory of its whole tree."""

import compileall
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.003  # about 300 times a second; takes about 2 % of a core, beside every run alike
FIELDS = ("RssAnon", "VmRSS", "VmHWM")


@dataclass(frozen=True)
class Run:
    """One run, in seconds and bytes.

    cpu, wall: of the whole command, from process start to end, the former (user + system, all threads and
    waited descendants) as the kernel accounts the waited child. work_*: as the child says, without its start
    and imports. anonymous, resident: greatest sum over the process tree at one poll; pages that two
    processes share count twice. high_water: greatest VmHWM of one process.
    """

    cpu: float
    wall: float
    anonymous: int
    resident: int
    high_water: int
    work_cpu: float = 0.0
    work_wall: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)


def child(job: Mapping[str, Any]) -> Run:
    """Run tests.bench.child on a job."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run, text = command([sys.executable, "-m", "tests.bench.child"], environment, json.dumps(job))
    told = json.loads(text)
    return replace(
        run, work_cpu=told["cpu"], work_wall=told["wall"], files=told["files"], parts=told["parts"]
    )


def command(words: Sequence[str], environment: Mapping[str, str], request: str = "") -> tuple[Run, str]:
    """Run a command and return its measures and standard output. Raises RuntimeError if it fails."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(request.encode())
        given.seek(0)
        began = time.monotonic()
        process = subprocess.Popen(words, stdin=given, stdout=out, stderr=err, env=environment, cwd=ROOT)
        try:
            peaks, status, used = _watched(process.pid)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told = f"{_text(err)}{_text(out)}"[-4000:]
            raise RuntimeError(f"{' '.join(words)} failed with {process.returncode}:\n{told}")
        cpu = used.ru_utime + used.ru_stime
        return Run(cpu, wall, peaks["RssAnon"], peaks["VmRSS"], peaks["VmHWM"]), _text(out)


def _watched(pid: int) -> tuple[dict[str, int], int, Any]:
    """Peak bytes by field until the process ends, its wait status and its resource usage."""
    peaks = dict.fromkeys(FIELDS, 0)
    while True:
        found = [_memory(one) for one in _tree(pid)]
        for name in FIELDS:
            seen = [memory.get(name, 0) for memory in found]
            peaks[name] = max(peaks[name], max(seen, default=0) if name == "VmHWM" else sum(seen))
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            return peaks, status, used
        time.sleep(POLL_SECONDS)


def _tree(pid: int) -> Iterator[int]:
    """A process and its descendants, as far as they can be seen."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for one in children:
            yield from _tree(int(one))


def _memory(pid: int) -> dict[str, int]:
    """Bytes by field of one process; {} if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":") for line in lines if line.startswith(FIELDS))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def precompile() -> None:
    """Compile the modules of stages/, as an installation does: a worker writes no .pyc itself."""
    compileall.compile_dir(ROOT / "stages", quiet=1)
