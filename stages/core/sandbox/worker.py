"""The child's side: one fresh interpreter, one job, one result.

It reads one request from standard input, locks itself, proves the lock, does the job, and writes JSON lines
to what was its standard output: {"isolation"}, then {"progress"} and {"part"}…, then {"result"}, {"error"} or
{"failure"}.
Whatever libraries print goes to standard error. Everything imported here is imported before the lock.
"""

import gc
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from stages.core.errors import BadCheckpoint, BadRequest, LabError, NotIsolated
from stages.core.sandbox import jobs, lock, probe, system
from stages.core.sandbox.jobs import Json

TRACEBACK_LINES = 12
GARBAGE = 100_000  # objects made before cycles are looked for: imports make as many, which all stay
PROGRESS_SECONDS = 0.1  # at most ten progress lines a second, and the last one


class Reporter:
    """Writes JSON lines to the parent, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._turn = threading.Lock()
        self._next = 0.0

    def send(self, **message: Json) -> None:
        """Write one line, whole."""
        line = json.dumps(message, allow_nan=False).encode() + b"\n"
        with self._turn:
            while line:
                line = line[os.write(self._descriptor, line) :]

    def part(self, value: Json) -> None:
        """Pass on a part of the result: what is finished is not lost with the rest."""
        self.send(part=value)

    def __call__(self, done: int, total: int) -> None:
        """Pass on "done of total", unless the last one is too recent; the end always passes."""
        now = time.monotonic()
        if now >= self._next or done == total:
            self._next = now + PROGRESS_SECONDS
            self.send(progress=[done, total])


def main() -> None:
    """Do the one job and end the process; never returns, never raises."""
    status = 1
    gc.set_threshold(GARBAGE)
    inherited = _descriptors() - {0, 1, 2}
    report = Reporter(_take_standard_output())
    try:
        with suppress(NotIsolated, OSError):  # not Linux, thus L0: the parent's kill remains
            system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)
        request = json.loads(sys.stdin.buffer.read())
        _replace_standard_input()
        if request["level"] != "L3" and os.getppid() != request["parent"]:
            return  # the parent died before the line above took effect
        if inherited and request["level"] in probe.EXPECTED_OPEN:
            raise NotIsolated(f"descriptors {sorted(inherited)} were inherited: the launcher must close them")
        status = _serve(request, report)
    except BaseException as problem:  # noqa: BLE001 -- the process ends here: say why, whatever it was
        with suppress(OSError):
            report.send(**_describe(problem))
    finally:
        os._exit(status)  # no atexit handlers, no thread joins: the job is over


def _serve(request: Json, report: Reporter) -> int:
    peak_memory = _peak_memory_reader()
    report.send(isolation=isolate(request))
    job = request["job"]
    result = jobs.find(job["kind"])(job, report)
    report.send(result=result, peak_rss_bytes=peak_memory(), cpu_seconds=time.process_time())
    return 0


def isolate(request: Json) -> Json:
    """Lock this process at the requested level and return the proof: {"level", "probes", "host"}.

    Raises NotIsolated if a mechanism fails or a probe finds open what the level promises to be shut.
    """
    level, spec = request["level"], request["lock"]
    lock.limit(spec["limits"])
    if level == "L0":
        return {"level": level, "probes": {}, "host": {}}
    inputs, outputs, folders, readable = (
        [Path(path) for path in spec[key]] for key in ("inputs", "rewritable", "folders", "readable")
    )
    wanted = lock.Lock(readable, outputs, folders, spec["limits"], level == "L3", spec["landlock_abi"])
    mechanisms = lock.apply(wanted, partial=level == "L1")
    probes = probe.selftest(_outside(folders, inputs), _outside(folders, outputs))
    surprises = probe.surprises(level, probes)
    if surprises:
        raise NotIsolated(
            f"the self-test at {level} found the opposite of what it expects: {', '.join(surprises)}"
        )
    return {"level": level, "probes": probes, "host": {"mechanisms": mechanisms}}


def _outside(folders: Sequence[Path], paths: Sequence[Path]) -> list[Path]:
    """The paths that lie beneath none of the folders, where creating files is allowed."""
    return [path for path in paths if not any(path.is_relative_to(folder) for folder in folders)]


def _describe(problem: BaseException) -> dict[str, Json]:
    """The message that lets the parent raise the same error, or report a crash of ours."""
    if isinstance(problem, BadCheckpoint):
        message = str(problem).removeprefix(f"[{problem.code}] ")
        return {"error": {"type": "BadCheckpoint", "message": message, "code": problem.code}}
    if isinstance(problem, BadRequest):
        return {"error": {"type": "BadRequest", "message": "", "problems": list(problem.problems)}}
    if isinstance(problem, LabError):
        return {"error": {"type": type(problem).__name__, "message": str(problem)}}
    memory = isinstance(problem, MemoryError) or "can't allocate memory" in str(
        problem
    )  # torch's RuntimeError
    import traceback  # 5 ms that only a failure pays

    lines = traceback.format_exception(problem)[-TRACEBACK_LINES:]
    return {"failure": {"cause": "memory" if memory else "exception", "traceback": "".join(lines)}}


def _descriptors() -> set[int]:
    """Open descriptors; empty where there is no /proc."""
    try:
        names = os.listdir("/proc/self/fd")  # noqa: PTH208 -- one descriptor, closed on return
    except OSError:
        return set()
    still_open = set()
    for name in names:
        with suppress(OSError):
            os.fstat(int(name))
            still_open.add(int(name))
    return still_open


def _take_standard_output() -> int:
    """A private descriptor for the parent; from here on print() and native code write to standard error."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    return descriptor


def _replace_standard_input() -> None:
    empty = os.open("/dev/null", os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)


def _peak_memory_reader() -> Callable[[], int]:
    """A function returning this process's peak resident bytes, from a file opened before the lock.

    Not getrusage: its maximum survives exec, and would be the parent's if that was larger.
    """
    try:
        status = os.open("/proc/self/status", os.O_RDONLY)
    except OSError:
        return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def peak() -> int:
        lines = os.pread(status, 1 << 16, 0).decode().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)

    return peak
