"""Where object files lie, which of them a plan needs, and making them before a worker does.

The process that starts workers fills the folder, in the user's cache; workers get it to read. Its name is a
digest of the kernels' sources, of numba and Python, and of the processor: other code is never found there.
Machine code is code: a folder that anybody else may write to is not used.
"""

import hashlib
import os
import platform
import stat
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from stages.core.records.files import cache_folder
from stages.core.weights.kernels.catalogue import TYPES, Kernel, kernel
from stages.core.weights.plan import Job, Plan

COUNTING = ("sample", "tally", "collect", "count_high", "count_low")
MEASURING = {"dots": ("dots",), "masked_l1": ("masked_l1",), "kept_magnitude": COUNTING}
HASHING, HASHES = kernel("sha256", "", ""), "sha_ni"  # and what a processor says that has its instructions
PACKAGES = ("numba", "llvmlite", "numpy")
_turn = threading.Lock()  # of the threads of one process: what one compiles the others wait for


def folder() -> Path | None:
    """The folder of this user's object files; None if numba is not installed."""
    name = _name()
    return None if name is None else cache_folder() / "kernels" / name


@cache
def _name() -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # 20 ms, of no use to a worker

    try:
        parts = [*map(version, PACKAGES), platform.python_version(), platform.machine(), _processor()]
    except PackageNotFoundError:
        return None
    digest = hashlib.sha256("|".join(parts).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def needed(plan: Plan) -> list[Kernel]:
    """The kernels that a plan can use; none where torch has to do everything."""
    found: dict[Kernel, None] = {}
    for job in plan.jobs:
        if job.action == "merge" and job.elements:
            found |= dict.fromkeys(for_job(plan, job))
    return [*found, HASHING] if found and HASHES in _processor().split() else list(found)


def for_job(plan: Plan, job: Job) -> list[Kernel]:
    """The kernels for one tensor: its block and its statistics, as far as they are coded.

    None for a tensor that is copied, or whose inputs are of several types.
    """
    if job.action == "copy":
        return []
    types = {plan.inputs[place].tensors[name].dtype for place, name in job.reads}
    needs = plan.method.needed(job.options) if plan.method.space == "delta" or plan.method.kernel else ()
    names = [name for need in needs if need.of is None for name in MEASURING.get(need.statistic, ())]
    names += [plan.method.kernel] if plan.method.kernel else []
    if not names or len(types) != 1 or not types | {job.dtype} <= set(TYPES):
        return []
    (read,) = types
    return [kernel(name, read, job.dtype) for name in ("finite", *names)]


def missing(plan: Plan) -> list[Kernel]:
    """The kernels that a plan can use and this machine has not compiled yet; none without numba."""
    place = folder()
    return [] if place is None else _lacking(place, needed(plan))


def ensure(plan: Plan, on_compile: Callable[[int, int], None] | None = None) -> Path | None:
    """The folder, with every kernel of this plan in it; None where torch has to do.

    The first time for a method and its types this takes 5 to 20 s; on_compile: how many are done, of all.
    None if the plan has no kernels, or the folder cannot be made or may be written by anyone else.
    """
    return _filled(needed(plan), on_compile)


def hashing() -> Path | None:
    """The folder, with the kernel that hashes two files at once in it; None where hashlib has to do."""
    return _filled([HASHING] if HASHES in _processor().split() else [])


def _filled(kernels: Sequence[Kernel], on_compile: Callable[[int, int], None] | None = None) -> Path | None:
    place = folder()
    if place is None or not kernels:
        return None
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _ours(place):
            return None
        with _turn:
            lacking = _lacking(place, kernels)
            for done, one in enumerate(lacking, start=1):
                from stages.core.weights.kernels import compiling

                make(place, one, compiling.compile_kernel(one))
                if on_compile is not None:
                    on_compile(done, len(lacking))
    except OSError:
        return None
    return place


def _lacking(place: Path, kernels: Sequence[Kernel]) -> list[Kernel]:
    return [one for one in kernels if not (place / one.file).exists()]


def make(place: Path, one: Kernel, code: bytes) -> None:
    """Put an object file into the folder, whole or not at all; drafts of killed makers go."""
    for left in place.glob(f".{one.file}.*"):
        if not Path("/proc", left.suffix[1:]).exists():
            left.unlink(missing_ok=True)
    draft = place / f".{one.file}.{os.getpid()}"
    draft.write_bytes(code)
    draft.replace(place / one.file)


def _ours(place: Path) -> bool:
    found = place.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "|".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
