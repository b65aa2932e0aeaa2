"""Files that are whole or absent: atomic writes and digests."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path

from stages.core.errors import BadCheckpoint

PART = ".part"
COPY_BYTES = 1 << 20  # read and written at a time


def cache_folder() -> Path:
    """The folder of this user for what may be deleted at any time: XDG_CACHE_HOME or ~/.cache, mergelab."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mergelab"


def sha256_bytes(data: bytes) -> str:
    """Lower-case hex SHA-256 of `data`."""
    return sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Lower-case hex SHA-256 of a file's bytes, read through one small buffer."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def copy_hashed(source: Path, target: Path) -> tuple[str, int]:
    """Copy one regular file to the new file `target`, synced; sha256 and size of exactly the bytes written.

    Links are not followed. Raises BadCheckpoint (`unreadable`) if `source` is a link or cannot be opened,
    (`changed-while-read`) if it is not what it was when it was opened; OSError if `target` exists.
    """
    digest, size = sha256(), 0
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as problem:
        raise BadCheckpoint("unreadable", f"cannot read {source}: {problem.strerror}.") from problem
    with os.fdopen(handle, "rb") as reader, target.open("xb") as writer:
        opened = os.fstat(handle)
        if not stat.S_ISREG(opened.st_mode):
            raise BadCheckpoint(
                "changed-while-read", f"{source} is no plain file any more. Run the stage again."
            )
        while size <= opened.st_size and (block := reader.read(COPY_BYTES)):
            digest.update(block)
            size += writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
        closed = os.fstat(handle)
    if (size, closed.st_ctime_ns) != (opened.st_size, opened.st_ctime_ns):
        raise BadCheckpoint("changed-while-read", f"{source} changed while it was read. Run the stage again.")
    return digest.hexdigest(), size


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, sync it, and rename it over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{PART}")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def sweep_parts(folder: Path) -> None:
    """Remove what killed writers left under `folder`: temporary names of write_text whose process is gone."""
    for part in folder.rglob(f".*{PART}"):
        owner = part.name.split(".")[-3]
        gone = owner.isdigit() and Path("/proc/self").exists() and not Path("/proc", owner).exists()
        if gone and part.is_file():
            part.unlink(missing_ok=True)


def publish(draft: Path, final: Path) -> None:
    """Rename the finished directory `draft` to `final`, syncing both; an existing `final` gives way."""
    _sync(draft)
    if final.exists():
        shutil.rmtree(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    draft.rename(final)
    _sync(final.parent)


@contextmanager
def drafted(final: Path) -> Iterator[Path]:
    """An empty folder beside `final`, which takes its place in the end, or is removed after an error."""
    draft = final.with_name(f".{final.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        publish(draft, final)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """Give `target` the bytes of `source`: a hard link where the file system allows one, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
