"""A full disk and folders that may not be written: a plain refusal, nothing half done, and the next run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core.errors import LabError
from stages.core.records import manifest as manifests
from stages.merge.__main__ import work
from tests.architecture.tree import ROOT
from tests.conftest import ORDINARY_USER
from tests.core.sandbox.test_attacks import python_for
from tests.merge.test_stage import contents

DISK_BYTES = 2 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = _mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder))
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def laboratory(inputs: Path, disk: Path) -> Path:
    """The inputs of a merge stage on that disk, for one worker at a time."""
    shutil.copytree(inputs, disk / "lab")
    params = disk / "lab/params.yaml"
    params.write_text(params.read_text().replace("workers: 2", "workers: 1"))
    return disk / "lab"


@pytest.fixture
def wanted(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What the stage makes where there is room."""
    shutil.copytree(inputs, tmp_path / "reference")
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "reference")
        work()
    return contents(tmp_path / "reference/data/candidates")


def _mount(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["mount", *words], capture_output=True, text=True, check=False)


def merge(folder: Path, user: int | None = None) -> tuple[int, str]:
    """`python -m stages.merge` there: its status, and what it says besides progress."""
    command = [str(python_for(user)), "-B", "-m", "stages.merge"]
    paths = [str(ROOT), *(place for place in sys.path if place.endswith("site-packages"))]
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(paths), "OMP_NUM_THREADS": "1",
             **({} if user is None else {"XDG_CACHE_HOME": str(folder / "cache")})},
        capture_output=True,
        text=True,
        check=False,
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith(("candidate ", "kernel "))]
    return done.returncode, "\n".join(said)


def half_done(folder: Path) -> list[str]:
    """What should not be found after a stage that failed: drafts, parts, folders that are not whole."""
    every = list(folder.rglob("*"))
    found = [str(path) for path in every if "draft" in path.name or path.suffix == ".part"]
    for stored in (folder / ".mergelab/candidates").glob("[!.]*"):
        try:
            manifests.check(stored, manifests.load(stored))
        except LabError as problem:
            found.append(str(problem))
    return found


@pytest.mark.parametrize(
    ("room", "finished"), [(8 << 10, 0), (80 << 10, 1), (128 << 10, 2)], ids=["none", "one", "two"]
)
def test_a_disk_that_fills_up_costs_what_did_not_fit_and_nothing_else(
    laboratory: Path, wanted: dict[str, bytes], room: int, finished: int
) -> None:
    """room: bytes left for candidates of 35 KB and what is remembered and written beside them."""
    ballast = laboratory.parent / "ballast"
    free = os.statvfs(laboratory)  # in blocks of a page
    with ballast.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, free.f_bavail * free.f_bsize - room)
    before = contents(laboratory / "data")
    status, said = merge(laboratory)
    assert status == 1
    assert re.fullmatch("merge: .*No space left on device.*", said), "one line"
    assert half_done(laboratory) == []
    assert contents(laboratory / "data") == before, "the parents are as they were, and there is no output"
    stored = {
        path: path.stat().st_ino for path in (laboratory / ".mergelab/candidates").glob("*/*.safetensors")
    }
    assert len(stored) == finished
    ballast.unlink()
    assert merge(laboratory) == (0, "")
    assert contents(laboratory / "data/candidates") == wanted
    assert {path: path.stat().st_ino for path in stored} == stored, "what was finished is not made again"


def test_a_disk_mounted_read_only_is_named_and_left_alone(
    laboratory: Path, wanted: dict[str, bytes], disk: Path
) -> None:
    assert _mount("-o", "remount,ro", str(disk)).returncode == 0
    before = contents(disk)
    status, said = merge(laboratory)
    assert status == 1
    assert said.startswith("merge: Read-only file system (EROFS) at ")
    assert contents(disk) == before
    assert _mount("-o", "remount,rw", str(disk)).returncode == 0
    assert merge(laboratory) == (0, "")
    assert contents(laboratory / "data/candidates") == wanted


@pytest.mark.parametrize("closed", [".mergelab", "data"])
def test_an_ordinary_user_without_the_right_to_write_is_told_where(
    inputs: Path, wanted: dict[str, bytes], users_folder: Path, closed: str
) -> None:
    laboratory = users_folder / "lab"
    shutil.copytree(inputs, laboratory)
    (laboratory / ".mergelab").mkdir()
    (laboratory / "cache").mkdir()
    for path in (laboratory, *laboratory.rglob("*")):
        os.chown(path, ORDINARY_USER, ORDINARY_USER)
    (laboratory / closed).chmod(0o555)
    status, said = merge(laboratory, ORDINARY_USER)
    assert status == 1
    assert said.startswith("merge: Permission denied (EACCES) at ")
    assert closed in said
    assert half_done(laboratory) == []
    (laboratory / closed).chmod(0o755)
    assert merge(laboratory, ORDINARY_USER) == (0, "")
    assert contents(laboratory / "data/candidates") == wanted
