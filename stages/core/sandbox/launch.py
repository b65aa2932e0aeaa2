"""The parent's side: start a worker, hand it one job, take one result, leave nothing behind.

    done = run(job, readable=[parent_folder], writable=files, isolation=Isolation(), limits=Limits())
    done.result      what the job returned
    done.isolation   level, degraded, probes and their digest: for the lineage
    done.run         times, memory, mechanisms: for run.json

Covered: a clean environment, no inherited descriptors, a limit on wall-clock time and on what a worker may
say, the end of the whole process group on every way out, the worker's end when the calling thread dies.
Not covered: the truth of a result. A worker that read hostile weights may lie: check digests afterwards.
"""

import fcntl
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from stages.core.errors import LabError, WorkerFailed
from stages.core.records.canonical import Json, dumps
from stages.core.records.files import sha256_bytes
from stages.core.sandbox import levels, runtime
from stages.core.sandbox.dialogue import Dialogue
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits

READ_BYTES = 1 << 16
POLL_SECONDS = 0.002  # between looks at a process that has closed its pipes
SCRATCH = "mergelab-scratch-"
SETTLED_SECONDS = 60.0  # before a folder that nobody holds is taken for left behind, not for just made
END_SECONDS = 5.0  # for a process to end after it has closed its pipes

_alive: set[int] = set()  # process groups of running workers, for stop_all
_alive_turn = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """A finished job. `isolation` is deterministic, for the lineage; `run` describes this one run."""

    result: Json
    isolation: Mapping[str, Json]
    run: Mapping[str, Json]


@dataclass(frozen=True)
class _Places:
    """The paths of one worker, absolute; `files` maps pre-allocated outputs to their sizes."""

    readable: Sequence[Path]
    files: Mapping[Path, int]
    folders: Sequence[Path]


def run(
    job: Mapping[str, Json],
    *,
    readable: Sequence[Path] = (),
    writable: Sequence[Path] = (),
    scratch: bool = False,
    isolation: Isolation = Isolation(),  # noqa: B008 -- frozen
    limits: Limits = Limits(),  # noqa: B008 -- frozen
    threads: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    on_part: Callable[[Json], None] | None = None,
) -> Outcome:
    """Do `job` (its "kind" names an entry of jobs.JOBS) in a worker of its own; callable from many threads.

    readable: files and folders it may read, beside Python itself. writable: existing files, which it may
    rewrite but not lengthen, and folders, in which it may do anything. scratch: add an empty folder,
    job["scratch"], removed afterwards. threads: for the arithmetic libraries. on_progress(done, total):
    called from this thread, at most ten times a second. on_part(part): called from this thread with each part
    of the result that the job gives before its end; as little to be trusted as the result.
    Raises NotIsolated; WorkerFailed (crash, limit, nonsense); and whatever LabError the job itself raised.
    """
    missing = [str(path) for path in (*readable, *writable) if not path.exists()]
    if missing:
        raise LabError(f"a worker's paths must exist before it starts. Missing: {', '.join(missing)}")
    with _scratch_folder(scratch) as private:
        places = _places(readable, writable, private)
        level = levels.choose(isolation, creates_files=bool(places.folders))
        dialogue = Dialogue(str(job.get("kind")), level, limits, on_progress, on_part)
        request = {
            "job": {**job, "scratch": str(private)} if private else dict(job),
            "level": level,
            "parent": os.getpid(),
            "lock": _lock(places, limits),
        }
        started = time.monotonic()
        status = _converse(
            _command(level, places), runtime.environment(threads, private), dumps(request), dialogue
        )
        message = dialogue.result(status)
        _check_sizes(places.files)
        return Outcome(
            message["result"],
            isolation_record(level, dialogue.proof["probes"]),
            _run_record(message, dialogue, started),
        )


def stop_all() -> None:
    """Kill every worker of this process; each `run` in another thread then raises WorkerFailed (SIGKILL).

    For the thread that got KeyboardInterrupt while others wait for their workers.
    """
    with _alive_turn:
        for group in _alive:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def isolation_record(level: str, probes: Mapping[str, str]) -> dict[str, Json]:
    """Level, probes and the digest of both, without anything that depends on the host or the hour."""
    core = {"level": level, "degraded": levels.degraded(level), "probes": dict(probes)}
    return {**core, "sha256": sha256_bytes(dumps(core))}


def _places(readable: Sequence[Path], writable: Sequence[Path], private: Path | None) -> _Places:
    folders = [path.absolute() for path in writable if path.is_dir()]
    return _Places(
        readable=[path.absolute() for path in readable],
        files={path.absolute(): path.stat().st_size for path in writable if not path.is_dir()},
        folders=[*folders, private] if private else folders,
    )


def _command(level: str, places: _Places) -> list[str]:
    if level != "L3":
        return runtime.command()
    readable = [*runtime.paths(), *places.readable]
    return levels.bubblewrap(readable, list(places.files), places.folders) + runtime.command()


def _lock(places: _Places, limits: Limits) -> dict[str, Json]:
    """The part of the request that worker.isolate reads; the same at every level."""
    largest = max(places.files.values(), default=0)
    bounds = asdict(limits) | {"file_bytes": max(largest, limits.file_bytes if places.folders else 0)}
    bounds.pop("wall_seconds")
    return {
        "readable": [str(path) for path in (*runtime.paths(), *places.readable)],
        "inputs": [str(path) for path in places.readable],
        "rewritable": [str(path) for path in places.files],
        "folders": [str(path) for path in places.folders],
        "limits": bounds,
        "landlock_abi": None,
    }


def _converse(
    command: Sequence[str], environment: Mapping[str, str], request: bytes, dialogue: Dialogue
) -> int:
    """Run one process to its end and return its status; whatever happens, its group is gone afterwards."""
    process = None
    try:
        process = subprocess.Popen(  # noqa: S603 -- our own interpreter, our own arguments
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd="/",
            close_fds=True,
            start_new_session=True,  # a group to kill, and a Ctrl-C in the terminal reaches the parent alone
        )
        with _alive_turn:
            _alive.add(process.pid)
        return _listen(process, request, dialogue)
    finally:
        if process is not None:
            _bury(process)


def _listen(process: subprocess.Popen[bytes], request: bytes, dialogue: Dialogue) -> int:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise AssertionError("pipes were asked for")
    deadline = time.monotonic() + dialogue.limits.wall_seconds
    with suppress(BrokenPipeError):  # it died already: its status will say why
        process.stdin.write(request)
        process.stdin.close()
    with selectors.DefaultSelector() as pipes:
        pipes.register(process.stdout, selectors.EVENT_READ, dialogue.hear)
        pipes.register(process.stderr, selectors.EVENT_READ, dialogue.hear_error)
        while pipes.get_map():
            for key, _ in pipes.select(max(0.0, deadline - time.monotonic())):
                data = os.read(key.fd, READ_BYTES)
                if data:
                    key.data(data)
                else:
                    pipes.unregister(key.fileobj)
            if time.monotonic() >= deadline:
                raise dialogue.too_late()
    return _status(process.pid)


def _status(pid: int) -> int:
    """Return code of a process that has closed its pipes; unreaped, so that its group's id stays its own."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is not None:
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        time.sleep(POLL_SECONDS)
    raise WorkerFailed(f"a worker closed its pipes and did not end within {END_SECONDS} s")


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Kill the group while its leader is unreaped, then reap it."""
    with _alive_turn:
        _alive.discard(process.pid)
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: only zombies left (macOS)
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        _close(pipe)
    process.wait()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with suppress(BrokenPipeError):  # a request that was never read
            pipe.close()


def _check_sizes(files: Mapping[Path, int]) -> None:
    """RLIMIT_FSIZE is one number for all files: look at each. Raises WorkerFailed naming one that grew."""
    for path, size in files.items():
        found = path.stat().st_size
        if found > size:
            raise WorkerFailed(f"the worker lengthened {path}: expected at most {size} bytes, got {found}")


def _run_record(message: Json, dialogue: Dialogue, started: float) -> dict[str, Json]:
    return {
        "wall_seconds": time.monotonic() - started,
        "start_seconds": dialogue.proved_at - started,
        "cpu_seconds": message.get("cpu_seconds"),
        "peak_rss_bytes": message.get("peak_rss_bytes"),
        **dialogue.proof["host"],
    }


@contextmanager
def _scratch_folder(wanted: bool) -> Iterator[Path | None]:
    if not wanted:
        yield None
        return
    _sweep_scratch(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH)).resolve()
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _sweep_scratch(parent: Path) -> None:
    """Remove scratch folders that nobody holds, since their launcher was killed: they may hold cases."""
    for folder in parent.glob(f"{SCRATCH}*"):
        with suppress(OSError):  # another user's, a link, held by its launcher, or swept by somebody else
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                found = os.fstat(handle)
                if found.st_uid == os.getuid() and time.time() - found.st_mtime > SETTLED_SECONDS:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
