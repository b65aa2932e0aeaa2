"""Where compiled kernels lie, and making them before a worker needs them. Imports numba only to compile.

The process that starts workers fills the folder, in the user's cache; workers get it to read. Its name is a
digest of the kernels' sources, of numba and Python, and of the processor: other code is never found there.
"""

import hashlib
import os
import stat
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stages.core.weights.plan import Plan


def folder() -> Path | None:
    """The folder of this user's machine code; None if numba is not installed."""
    try:
        parts = [version("numba"), version("llvmlite"), sys.version, _processor()]
    except PackageNotFoundError:
        return None
    digest = hashlib.sha256("|".join(parts).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "mergelab" / "kernels" / digest.hexdigest()[:16]


def ensure(plan: Plan) -> Path | None:
    """The folder, with every kernel of this plan in it; None where torch has to do.

    The first time for a method and its types this takes 5 to 20 s. None if the plan has no kernels, or the
    folder cannot be written or belongs to, or may be written by, anyone else.
    """
    place = folder()
    if place is None:
        return None
    mark = place / f"{_name(plan)}.ready"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _ours(place):
            return None
        if not mark.exists():
            from stages.core.weights.kernels import fast

            if fast.load(plan, place, compiling=True) is None:
                return None
            mark.touch()
    except OSError:
        return None
    return place


def _name(plan: Plan) -> str:
    """What decides which kernels a plan calls, and for which types."""
    types = sorted({spec.dtype for given in plan.inputs for spec in given.tensors.values()})
    needs = sorted(need.statistic for need in plan.method.needed(plan.recipe.parameters))
    words = [plan.method.name, str(plan.method.version), *types, "to", plan.recipe.output_dtype, *needs]
    return "-".join(words)


def _ours(place: Path) -> bool:
    found = place.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return "|".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
