"""Runs a child process to its end: processor time, wall time and peak memory of its whole tree."""

import compileall
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.003  # about 300 times a second; takes 3 to 4 % of a core, beside every run alike
LOOK_EVERY = 8  # polls between looks for new processes, which cost more than the poll
ANONYMOUS, RESIDENT, HIGH_WATER = b"RssAnon", b"VmRSS", b"VmHWM"
FIELD = re.compile(rb"^(RssAnon|VmRSS|VmHWM):\s+(\d+)", re.MULTILINE)


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
        return Run(cpu, wall, peaks[ANONYMOUS], peaks[RESIDENT], peaks[HIGH_WATER]), _text(out)


class _Tree:
    """A process and its descendants, as far as they can be seen; their status files stay open."""

    def __init__(self, pid: int) -> None:
        self._root, self._open = pid, dict[int, int]()
        self._polls = 0

    def memory(self) -> list[dict[bytes, int]]:
        """Bytes by field of every process that is alive."""
        if self._polls % LOOK_EVERY == 0:
            for pid in _descendants(self._root):
                if pid not in self._open:
                    with suppress(FileNotFoundError):  # it has ended since it was listed
                        self._open[pid] = os.open(f"/proc/{pid}/status", os.O_RDONLY)
        self._polls += 1
        return [found for pid in list(self._open) if (found := self._read(pid))]

    def _read(self, pid: int) -> dict[bytes, int]:
        try:
            text = os.pread(self._open[pid], 1 << 13, 0)
        except ProcessLookupError:
            os.close(self._open.pop(pid))
            return {}
        return {name: int(size) * 1024 for name, size in FIELD.findall(text)}

    def close(self) -> None:
        """Close the status files."""
        for handle in self._open.values():
            os.close(handle)


def _watched(pid: int) -> tuple[dict[bytes, int], int, Any]:
    """Peak bytes by field until the process ends, its wait status and its resource usage."""
    peaks = {ANONYMOUS: 0, RESIDENT: 0, HIGH_WATER: 0}
    tree = _Tree(pid)
    while True:
        found = tree.memory()
        for name in (ANONYMOUS, RESIDENT):
            peaks[name] = max(peaks[name], sum(memory.get(name, 0) for memory in found))
        peaks[HIGH_WATER] = max(peaks[HIGH_WATER], *(memory.get(HIGH_WATER, 0) for memory in found), 0)
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            tree.close()
            return peaks, status, used
        time.sleep(POLL_SECONDS)


def _descendants(pid: int) -> Iterator[int]:
    """The process and everything that it or its threads started, while they are there."""
    yield pid
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 -- read a hundred times a second
    except OSError:
        return
    for task in tasks:
        try:
            children = Path(f"/proc/{pid}/task/{task}/children").read_text()
        except OSError:
            continue
        for one in children.split():
            yield from _descendants(int(one))


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def precompile() -> None:
    """Compile the modules of stages/, as an installation does: a worker writes no .pyc itself."""
    compileall.compile_dir(ROOT / "stages", quiet=1)
