"""What every attack is held to: it is refused, and nothing of it stays behind."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

Unharmed = Callable[..., AbstractContextManager[None]]


def snapshot(folder: Path) -> dict[str, str]:
    """Every entry below a folder: where a link leads, the digest of a file, or that it is something else."""
    return {str(path): _kind(path) for path in sorted(folder.rglob("*"))}


def _kind(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_file():
        return sha256(path.read_bytes()).hexdigest()
    return "folder" if path.is_dir() else "something else"


def children() -> list[str]:
    """The processes that this one started and has not waited for."""
    tasks = Path("/proc/self/task").glob("*/children")
    return sorted(pid for task in tasks for pid in task.read_text().split())


@pytest.fixture
def unharmed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Unharmed:
    """`with unharmed(folder, …):` nothing in it may leave behind or change a file, a folder or a process.

    The folders are those given and the one for temporary files.
    """
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    @contextmanager
    def watched(*folders: Path) -> Iterator[None]:
        places = (temporary, *folders)
        before, running = [snapshot(place) for place in places], children()
        yield
        assert [snapshot(place) for place in places] == before
        assert children() == running

    return watched
