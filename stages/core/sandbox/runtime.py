"""How a worker's interpreter is started, and the parts of this machine it needs to run at all."""

import os
import sys
from functools import cache
from pathlib import Path

from stages.core.sandbox.jobs import NOWHERE

# -I: no PYTHON* variables, no current folder. -S: no .pth files, which run code before the lock. -B: no .pyc.
FLAGS = ("-I", "-S", "-B")
BOOT = (
    "import sys; root = sys.argv[1]; sys.path.insert(0, root); import stages.core.sandbox.worker as worker; "
    "sys.path.remove(root); sys.path += sys.argv[2:]; worker.main()"
)
# Variables passed on when set; everything else stays here, secrets included.
PASSED = (
    "ATEN_CPU_CAPABILITY",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
)
FIXED = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's own, which multiplies nothing here: starting more took 0.05 CPU s
    "PYTHONDONTWRITEBYTECODE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")


def environment(threads: int, scratch: Path | None) -> dict[str, str]:
    """All variables of a worker. HOME and TMPDIR are its scratch folder; without one they lead nowhere."""
    place = str(scratch) if scratch else NOWHERE
    counts = dict.fromkeys(("MKL_NUM_THREADS", "OMP_NUM_THREADS"), str(threads))
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    return {**counts, **FIXED, "HOME": place, "TMPDIR": place, **passed}


def interpreter() -> Path:
    """The real program behind sys.executable: a virtual environment's own is a chain of links."""
    return Path(sys.executable).resolve()


@cache
def code_root() -> Path:
    """The folder that holds the package `stages`."""
    return Path(__file__).resolve().parents[3]


def site_folders() -> list[str]:
    """The folders of installed packages on this process's path."""
    endings = ("site-packages", "dist-packages")
    return [entry for entry in sys.path if entry.endswith(endings) and Path(entry).is_dir()]


def command() -> list[str]:
    """The argument vector of a worker."""
    return [str(interpreter()), *FLAGS, "-c", BOOT, str(code_root()), *site_folders()]


def paths() -> list[Path]:
    """What every worker may read: interpreter, standard library, packages, this package, system libraries."""
    base = [Path(sys.base_prefix) / name for name in ("lib", "lib64")]
    own = [interpreter(), code_root() / "stages", *map(Path, site_folders())]
    return [path for path in (*own, *base, *map(Path, LIBRARIES)) if path.exists()]
