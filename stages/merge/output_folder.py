"""A folder of the user's that appears whole or not at all: for merges by hand, rebuilds and exports."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records.files import publish


def free(out: Path) -> None:
    """Raises LabError unless `out` can become the result: empty or absent, and no output of the pipeline."""
    target = out.resolve()
    for folder in (target, *target.parents):
        if folder.name == "data" and (folder.parent / "dvc.yaml").is_file():
            raise LabError(f"{out} lies in data/, which only the pipeline writes. Choose a folder elsewhere.")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise LabError(f"{out} is a file or a link: expected an empty folder or none. Choose another --out.")
    if out.is_dir() and any(out.iterdir()):
        raise LabError(f"{out} is not empty: nothing is overwritten. Remove it, or choose another --out.")


@contextmanager
def draft(out: Path) -> Iterator[Path]:
    """An empty folder beside `out`, renamed to it on success and removed otherwise; dead ones are swept."""
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name}.draft-"
    for left in out.parent.glob(f"{prefix}*"):
        if not Path("/proc", left.name.removeprefix(prefix)).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = out.with_name(f"{prefix}{os.getpid()}")
    folder.mkdir()
    try:
        yield folder
        free(out)  # again: a merge takes a while, and `publish` would remove what came there meanwhile
        publish(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
