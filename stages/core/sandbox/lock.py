"""The lock: what a fresh interpreter does to itself before it may see anything that others made.

In order: limits, no_new_privs, capabilities, Landlock, seccomp. It takes about a millisecond, needs no
privilege and no program, and cannot be undone by the process or by anything that it starts.
Landlock confines one thread and `import numpy` already starts another: lock first, import afterwards.

Covered: files (landlock.py), system calls (seccomp.py), privileges, memory, CPU time, size of a file.
Not covered: the kernel's own bugs; the existence and size of outside files (`stat`) without bubblewrap; the
number of threads; the total size of a scratch folder; device drivers.
"""

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stages.core.errors import NotIsolated
from stages.core.sandbox import landlock, seccomp, system

MECHANISMS = ("no_new_privs", "capabilities", "landlock", "seccomp")
CAPABILITIES_V3 = 0x20080522  # linux/capability.h
LAST_CAPABILITY = 63  # two 32-bit words; the kernel answers EINVAL beyond its own last one
CPU_GRACE_SECONDS = 2  # between SIGXCPU, which names the cause, and SIGKILL

# Read by the C library, OpenMP and the CPU dispatch of numpy and torch. Without /proc/cpuinfo they may choose
# kernels for another CPU. These are single files: /proc itself would show the host's processes.
SYSTEM_FILES = tuple(Path("/proc") / name for name in ("cpuinfo", "meminfo", "self/status", "self/maps"))
SYSTEM_FOLDERS = (Path("/sys/devices/system/cpu"), Path("/sys/devices/system/node"))
DEVICES = (Path("/dev/null"), Path("/dev/urandom"))


class Lock(NamedTuple):
    """What one worker may touch.

    readable: files and folders; rewritable: existing files, whose bytes and length alone may change; folders:
    where it may create and remove files. limits: see `limit`. read_only_mounts: bubblewrap refuses truncation
    of inputs, which Landlock sees from ABI 3 only. landlock_abi: use no newer one, 0 for none (tests).
    """

    readable: Sequence[Path]
    rewritable: Sequence[Path]
    folders: Sequence[Path]
    limits: Mapping[str, int]
    read_only_mounts: bool = False
    landlock_abi: int | None = None


def limit(limits: Mapping[str, int]) -> None:
    """Set the rlimits: cpu_seconds, memory_bytes, file_bytes, open_files; no core dumps.

    Memory is RLIMIT_DATA, private writable pages: RLIMIT_AS would count mapped libraries and weights.
    RLIMIT_NPROC is left alone: it counts all of a user's threads, here and elsewhere.
    """
    cpu = limits["cpu_seconds"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_CPU, cpu, cpu + CPU_GRACE_SECONDS)
    _lower(resource.RLIMIT_DATA, limits["memory_bytes"])
    _lower(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _lower(resource.RLIMIT_NOFILE, limits["open_files"])


def apply(lock: Lock, *, partial: bool = False) -> dict[str, str]:
    """Lock this process for good; mechanism → 'on', 'ABI n', or an errno's name where `partial` let it pass.

    Raises NotIsolated naming the mechanism and the errno, unless `partial` (level L1).
    """
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 -- pathlib is one more import before the lock
        raise NotIsolated(
            "the lock found a second thread: Landlock would not hold it. Import nothing before."
        )
    version = _version(lock)
    steps: Mapping[str, Callable[[], None]] = {
        "no_new_privs": _refuse_new_privileges,
        "capabilities": _drop_capabilities,
        "landlock": lambda: _confine_files(lock, version),
        "seccomp": lambda: seccomp.install(landlock_truncates=lock.read_only_mounts or version not in (1, 2)),
    }
    applied = {}
    for name, step in steps.items():
        try:
            step()
            applied[name] = f"ABI {version}" if name == "landlock" else "on"
        except OSError as problem:
            code = errno.errorcode.get(problem.errno or 0, "?")
            if not partial:
                where = f" {problem.filename}" if problem.filename else ""
                raise NotIsolated(f"{name}: {code} ({problem.errno}) {problem.strerror}{where}") from problem
            applied[name] = code
    return applied


def capabilities() -> int:
    """The effective and permitted capabilities of this process, or-ed; 0 when it has none."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITIES_V3, 0))
    data = ctypes.create_string_buffer(24)
    system.setup_call("capget", header, data)
    low_effective, low_permitted, _, high_effective, high_permitted, _ = struct.unpack("=6I", data.raw[:24])
    return int(low_effective | low_permitted | (high_effective | high_permitted) << 32)


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    ceiling = resource.getrlimit(kind)[1]
    top = soft if hard is None else hard
    top = top if ceiling == resource.RLIM_INFINITY else min(top, ceiling)
    resource.setrlimit(kind, (min(soft, top), top))


def _refuse_new_privileges() -> None:
    system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)


def _drop_capabilities() -> None:
    for capability in range(LAST_CAPABILITY + 1):
        try:
            system.prctl(system.PR_CAPBSET_DROP, capability)
        except OSError:  # EINVAL: past the last one. EPERM: an ordinary user, who gains nothing without exec
            break
    system.prctl(system.PR_CAP_AMBIENT, system.PR_CAP_AMBIENT_CLEAR_ALL)
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITIES_V3, 0))
    system.setup_call("capset", header, ctypes.create_string_buffer(bytes(24), 24))


def _confine_files(lock: Lock, version: int) -> None:
    if version == 0:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock")
    rules = landlock.Rules(version)
    rules.allow(lock.readable, landlock.READ)
    rules.allow([path for path in (*SYSTEM_FOLDERS, *DEVICES) if path.exists()], landlock.READ)
    rules.allow([Path("/dev/null")], landlock.READ | landlock.WRITE_FILE)
    rules.allow_pinned(SYSTEM_FILES)
    rules.allow(lock.rewritable, landlock.REWRITE)
    rules.allow(lock.folders, landlock.SCRATCH)
    rules.enforce()


def _version(lock: Lock) -> int:
    try:
        version = landlock.abi()
    except OSError:
        return 0
    return version if lock.landlock_abi is None else min(version, lock.landlock_abi)
