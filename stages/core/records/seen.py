"""Digests of files that were hashed before and not touched since, so that a merge need not hash them again.

A file is known by its stamp: device, inode, size, and the times of its last change of content and of status.
No write leaves the last one alone, whatever it does to the others. A change within SETTLED_NS of another one
may leave no trace in a file system's clock, so a file as young as that is never remembered.
What is remembered is a cache: wrong content is found by `mergelab verify`, which remembers nothing.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records.canonical import read_json, write_json

SETTLED_NS = 2_000_000_000
MOST = 4096  # files remembered; the oldest go first


def stamp(found: os.stat_result) -> str:
    """The stamp of an open or named file."""
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"


class Seen:
    """What is remembered, in one JSON file; None remembers nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def digests(
        self, files: Sequence[Path], hashed: Callable[[Sequence[Path]], Sequence[str]]
    ) -> dict[Path, str]:
        """sha256 of each file: remembered, or taken now and remembered; `hashed` takes several at once."""
        known = self._load()
        before = {file: stamp(file.stat()) for file in files}
        found = {file: known[before[file]] for file in files if before[file] in known}
        lacking = [file for file in before if file not in found]
        taken = dict(zip(lacking, hashed(lacking), strict=True))
        self.note([(file, before[file], sha256) for file, sha256 in taken.items()])
        return found | taken

    def stamp(self, file: Path, sha256: str) -> str | None:
        """The stamp of a file if it is remembered to have that digest."""
        now = stamp(file.stat())
        return now if self._load().get(now) == sha256 else None

    def note(self, hashed: list[tuple[Path, str, str]]) -> None:
        """Remember (file, stamp before it was hashed, sha256) where the file still has it and has settled."""
        oldest = time.time_ns() - SETTLED_NS
        fresh = {}
        for file, before, sha256 in hashed:
            found = file.stat()
            if stamp(found) == before and max(found.st_mtime_ns, found.st_ctime_ns) < oldest:
                fresh[before] = sha256
        known = self._load()
        if self._path is not None and fresh.keys() - known.keys():
            write_json(self._path, dict(list((known | fresh).items())[-MOST:]))

    def _load(self) -> dict[str, str]:
        """Everything remembered; nothing if the file is missing or spoilt."""
        if self._path is None or not self._path.is_file():
            return {}
        try:
            found = read_json(self._path)
        except LabError:
            return {}
        return found if isinstance(found, dict) else {}
