"""The self-test: a locked worker tries what it must not be able to do, before it opens anything.

Each probe is one attempt that would leave nothing behind if it succeeded. Its verdict is
  denied   the kernel said EPERM, EACCES, ENOSYS or EROFS, or (paths) the name does not exist in this view
  open     anything else: the attempt reached the kernel's own handling
Error numbers and versions stay out of the verdicts, so that equal protection has an equal digest.
Not covered: attempts that do harm if they succeed (removing an input, filling a disk); tests make those.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from stages.core.errors import NotIsolated
from stages.core.sandbox import lock, syscalls, system

Attempt: TypeAlias = Callable[[], object]

DENIED = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS})
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
NO_PROCESS = 0x3FFFFFFF  # above any pid: an attempt that passes the lock answers ESRCH and harms nobody

# What is known to stay open at each level; anything else that is open at L3 or L2 stops the worker.
EXPECTED_OPEN: Mapping[str, frozenset[str]] = {"L3": frozenset(), "L2": frozenset({"stat_outside"})}
NEEDED = ("read_cpuinfo", "start_thread")  # must stay open, or bytes may differ or never come


def selftest(inputs: Sequence[Path], outputs: Sequence[Path]) -> dict[str, str]:
    """Probe → 'denied' or 'open', sorted; `inputs` are read-only paths, `outputs` pre-allocated files."""
    found = {name: verdict(attempt, ABSENT | DENIED) for name, attempt in _paths(inputs, outputs).items()}
    found |= {name: verdict(attempt, DENIED) for name, attempt in _calls().items()}
    return dict(sorted(found.items()))


def surprises(level: str, verdicts: Mapping[str, str]) -> list[str]:
    """The probes whose verdict `level` does not expect; empty at L1 and L0, which promise nothing."""
    if level not in EXPECTED_OPEN:
        return []
    opened = {name for name, found in verdicts.items() if found == "open"}
    return sorted(opened - EXPECTED_OPEN[level] - set(NEEDED)) + [
        name for name in NEEDED if name not in opened
    ]


def verdict(attempt: Attempt, denials: frozenset[int] = DENIED) -> str:
    """'denied' if the attempt raises an OSError of `denials` or cannot start a thread; else 'open'."""
    try:
        attempt()
    except OSError as problem:
        return "denied" if problem.errno in denials else "open"
    except RuntimeError:  # threading: "can't start new thread"
        return "denied"
    return "open"


def _paths(inputs: Sequence[Path], outputs: Sequence[Path]) -> dict[str, Attempt]:
    folders = [path if path.is_dir() else path.parent for path in inputs] + [path.parent for path in outputs]
    targets = [path for path in inputs if path.is_file()] or [Path(__file__)]
    return {
        "create_beside_files": lambda: _any(_create, [*folders, Path(__file__).parent]),
        "list_outside": lambda: os.listdir("/etc"),  # noqa: PTH208 -- the call is the probe
        "make_shared_memory_file": lambda: _open("/dev/shm", os.O_TMPFILE | os.O_RDWR),  # noqa: S108 -- nameless
        "read_cpuinfo": lambda: _open("/proc/cpuinfo", os.O_RDONLY),
        "read_outside": lambda: _open("/etc/passwd", os.O_RDONLY),
        "read_parent_process": lambda: _open(f"/proc/{os.getppid()}/cmdline", os.O_RDONLY),
        "stat_outside": lambda: Path("/etc/passwd").stat(),
        "write_input": lambda: _any(lambda path: _open(path, os.O_WRONLY), targets),
        "write_kernel_setting": lambda: _open("/proc/sys/kernel/core_pattern", os.O_WRONLY),
        "write_outside": lambda: _open("/tmp", os.O_TMPFILE | os.O_RDWR),  # noqa: S108 -- nameless
    }


def _calls() -> dict[str, Attempt]:
    """Calls whose arguments are wrong on purpose: only a refusal by the lock says EPERM or ENOSYS."""
    null = ctypes.c_void_p(None)
    return {
        "bpf": lambda: _call("bpf", 10**6, null, 0),
        "change_mode": lambda: _call("fchmodat", -1, b"", 0),
        "execute": lambda: os.execv("/nonexistent/program", ["program"]),  # noqa: S606 -- a probe
        "fork": _fork,
        "io_uring": lambda: _call("io_uring_setup", 0, null),
        "keep_capabilities": _capabilities,
        "keyring": lambda: _call("keyctl", 10**6),
        "memory_file": lambda: _call("memfd_create", null, 0),
        "mount": lambda: _call("fsopen", null, 0),
        "namespace": lambda: _call("unshare", 0),
        "network_socket": lambda: _call("socket", 2, 1, 0),
        "new_privileges": _new_privileges,
        "open_by_handle": lambda: _call("open_by_handle_at", -1, null, 0),
        "other_memory": lambda: _call("process_vm_readv", NO_PROCESS, null, 0, null, 0, 0),
        "performance_events": lambda: _call("perf_event_open", null, 0, -1, -1, 0),
        "ptrace": lambda: _call("ptrace", 16, NO_PROCESS, 0, 0),  # PTRACE_ATTACH
        "signal_parent": lambda: os.kill(os.getppid() or NO_PROCESS, 0),
        "start_thread": _thread,
        "system_v_memory": lambda: _call("shmget", 1, 0, 0),
        "unix_socket": lambda: _call("socket", 1, 1, 0),
        "userfaultfd": lambda: _call("userfaultfd", 1 << 30),
    }


def _any(attempt: Callable[[Path], object], paths: Sequence[Path]) -> None:
    """Return if `attempt` succeeds on any of the paths; else raise the last error."""
    last = OSError(errno.EACCES, "nothing to try")
    for path in paths:
        try:
            attempt(path)
        except OSError as problem:
            last = problem
        else:
            return
    raise last


def _open(path: str | Path, flags: int) -> None:
    os.close(os.open(path, flags | os.O_CLOEXEC))


def _create(folder: Path) -> None:
    name = folder / f".probe-{os.getpid()}"
    _open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with suppress(OSError):
        name.unlink()


def _call(name: str, *arguments: object) -> None:
    machine = syscalls.architecture()
    for entry in syscalls.DENIED.values():
        number = syscalls.numbers(entry, machine).get(name)
        if number is not None:
            opened = system.call(number, *arguments)
            if name in ("socket", "userfaultfd"):
                os.close(opened)
            return
    raise NotIsolated(f"no system call {name!r} on {machine}: the self-test and the table disagree")


def _fork() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _capabilities() -> None:
    if lock.capabilities() == 0:
        raise PermissionError(errno.EPERM, "no capability left")


def _new_privileges() -> None:
    if system.prctl(system.PR_GET_NO_NEW_PRIVS) == 1:
        raise PermissionError(errno.EPERM, "no_new_privs is set")
