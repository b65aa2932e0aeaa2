"""The levels of isolation, what this machine can reach, and which one a request gets.

| level | made of | promise |
|---|---|---|
| L3 | bubblewrap, then the lock | nothing outside can even be named; own processes, network and mounts |
| L2 | the lock: no_new_privs, no capabilities, Landlock, seccomp, limits | nothing else is read or changed |
| L1 | as much of the lock as the kernel takes, and limits | partial: recorded, degraded |
| L0 | limits and the parent's clock | none: recorded, degraded |

L2 is the least for anything that may leave the lab. L1 and L0 come only to those who lower the minimum.
"""

import errno
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stages.core.errors import NotIsolated
from stages.core.sandbox import landlock, runtime, syscalls, system

LEVELS = ("L0", "L1", "L2", "L3")
BUBBLEWRAP = (Path("/usr/bin/bwrap"), Path("/usr/local/bin/bwrap"))  # not from PATH, which others may set
TRIAL_SECONDS = 20.0


@dataclass(frozen=True)
class Isolation:
    """What a request asks for: 'auto' is the best level that this machine reaches, if at least `minimum`."""

    level: str = "auto"
    minimum: str = "L2"


def choose(isolation: Isolation, *, creates_files: bool = False) -> str:
    """The level to use. `creates_files`: the job has a folder to write in, which asks more of Landlock.

    Raises NotIsolated, one line: what was tried, the errno, the setting to change.
    """
    wanted = LEVELS[::-1] if isolation.level == "auto" else (isolation.level,)
    tried = []
    for level in wanted:
        if LEVELS.index(level) < LEVELS.index(isolation.minimum):
            tried.append(f"{level}: below the minimum")
            break
        obstacle = obstacles(level, creates_files=creates_files)
        if not obstacle:
            return level
        tried.append(f"{level}: {obstacle}")
    raise NotIsolated(
        f"isolation.level={isolation.level} with isolation.minimum={isolation.minimum} cannot be had here. "
        f"Tried {'; '.join(tried)}. Install bubblewrap, or use Linux 6.2 or later with Landlock; or lower "
        "isolation.level and isolation.minimum (L1, L0: degraded, never promotable)."
    )


def degraded(level: str) -> bool:
    """Whether results made at this level may never leave the lab."""
    return LEVELS.index(level) < LEVELS.index("L2")


def obstacles(level: str, *, creates_files: bool = False) -> str:
    """Why `level` cannot be reached on this machine, with the errno; empty if it can."""
    if level == "L0":
        return ""
    if level == "L1":
        return _no_table()
    lock = _no_table() or _no_landlock() or _no_seccomp()
    if level == "L3":
        return lock or _no_bubblewrap()
    if not lock and creates_files and landlock.abi() < 3:
        return f"Landlock ABI {landlock.abi()} cannot watch truncation beside a writable folder (3 can)"
    return lock


def bubblewrap(readable: Sequence[Path], rewritable: Sequence[Path], folders: Sequence[Path]) -> list[str]:
    """The arguments that put a command into its own mounts, processes, network, users and host name.

    Paths keep their names inside, and links are bound under both names. The rest of the tree does not exist.
    """
    words = [str(_bubblewrap_program()), "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    # As root the worker could write core_pattern without the second mount.
    words += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys"]
    for device in ("/dev/null", "/dev/urandom"):
        words += ["--dev-bind", device, device]
    for folder in ("/sys/devices/system/cpu", "/sys/devices/system/node"):
        words += ["--ro-bind-try", folder, folder]
    for option, paths in (("--ro-bind", readable), ("--bind", [*rewritable, *folders])):
        for path in paths:
            real = path.resolve()
            for name in dict.fromkeys((real, path.absolute())):
                words += [option, str(real), str(name)]
    return [*words, "--remount-ro", "/", "--chdir", "/", "--"]


@cache
def _no_table() -> str:
    try:
        syscalls.architecture()
    except NotIsolated as problem:
        return str(problem)
    return ""


@cache
def _no_landlock() -> str:
    try:
        landlock.abi()
    except OSError as problem:
        return f"Landlock: {_name(problem)} from landlock_create_ruleset"
    return ""


@cache
def _no_seccomp() -> str:
    try:
        system.prctl(system.PR_GET_SECCOMP)
    except OSError as problem:
        return f"seccomp: {_name(problem)} from prctl(PR_GET_SECCOMP)"
    return ""


@cache
def _bubblewrap_program() -> Path | None:
    return next((path for path in BUBBLEWRAP if os.access(path, os.X_OK)), None)


@cache
def _no_bubblewrap() -> str:
    """Why bubblewrap does not work here: it may be missing, or user namespaces may be off. One real start."""
    if _bubblewrap_program() is None:
        return f"bubblewrap: {errno.errorcode[errno.ENOENT]} ({errno.ENOENT}) at {BUBBLEWRAP[0]}"
    trial = [*bubblewrap(runtime.paths(), [], []), str(runtime.interpreter()), *runtime.FLAGS, "-c", "pass"]
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed program and our own paths
            trial, env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"bubblewrap: {problem}"
    if done.returncode == 0:
        return ""
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return f"bubblewrap: {said[-1] if said else f'it ended with status {done.returncode}'}"


def _name(problem: OSError) -> str:
    return f"{errno.errorcode.get(problem.errno or 0, '?')} ({problem.errno})"
