"""The storage quota of the lab: what it holds, and which weights give way to new ones.

    evicted = Quota(...).make_room(needed_bytes, keep)

Counted is every file under the folders given, once for each inode. Weights of candidates give way, the least
recently used first: in the work cache with their folder, elsewhere alone, since the lineage beside them can
rebuild them. Never those on the front, those that the search at hand needs, or a parent. A use is a merge, or
a search that found the weights still there.
Not covered: two searches on one cache, of which one evicts what the other has just found.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records import lineage as lineages
from stages.core.records.canonical import Json, read_json

WEIGHTS = "*.safetensors"
GOING = ".draft-"  # Store sweeps such names when the process that they end with is gone


@dataclass(frozen=True)
class Held:
    """One candidate's weights: folders they lie in, bytes of their files, time of their last use."""

    id: str
    folders: tuple[Path, ...]
    bytes: int
    used_ns: int

    def to_json(self) -> Json:
        """For `mergelab gc --json`."""
        return {"id": self.id, "bytes": self.bytes}


@dataclass(frozen=True)
class Quota:
    """At most `bytes` under `counted`. pinned: ids that are never evicted.

    store, candidates: the work cache and the output of the merge stage, a folder for each candidate in both.
    """

    bytes: int
    store: Path
    candidates: Path
    counted: tuple[Path, ...]
    pinned: Collection[str] = field(default=())

    def used(self) -> int:
        """Bytes of all files that are counted, each inode once."""
        found = {(entry.st_dev, entry.st_ino): entry.st_size for entry in _files(self.counted)}
        return sum(found.values())

    def held(self, keep: Collection[str] = ()) -> list[Held]:
        """The candidates whose weights may give way, the least recently used first; none of `keep`."""
        names = sorted({path.parent.name for path in self.store.glob(f"[!.]*/{WEIGHTS}")}
                       | {path.parent.name for path in self.candidates.glob(f"*/{WEIGHTS}")
                          if (path.parent / lineages.NAME).is_file()})  # fmt: skip
        found = [self._held(name) for name in names if name not in self.pinned and name not in keep]
        return sorted(found, key=lambda one: (one.used_ns, one.id))

    def going(self, needed: int = 0, keep: Collection[str] = ()) -> tuple[list[Held], int]:
        """What must give way so that `needed` more bytes fit, and the bytes that are missing even then."""
        excess = self.used() + needed - self.bytes
        going = []
        for one in self.held(keep):
            if excess <= 0:
                break
            going.append(one)
            excess -= one.bytes
        return going, max(excess, 0)

    def make_room(self, needed: int, keep: Collection[str] = ()) -> list[Held]:
        """Evict what must give way so that `needed` more bytes fit, and say what.

        Raises LabError, with nothing evicted, if they cannot fit.
        """
        going, missing = self.going(needed, keep)
        if missing:
            raise LabError(
                f"storage.quota_bytes={self.bytes}: {needed} more bytes are needed, {self.used()} are held, "
                f"and {sum(one.bytes for one in going)} of them may be evicted: {missing} are missing. Raise "
                "storage.quota_bytes, lower budget.candidates, or move what data/ holds besides."
            )
        self.evict(going)
        return going

    def evict(self, going: Collection[Held]) -> None:
        """Remove these weights: a stored folder whole, beside a lineage the weights alone."""
        for one in going:
            self._evict(one)

    def _held(self, name: str) -> Held:
        folders = tuple(
            folder for folder in (self.store / name, self.candidates / name) if any(folder.glob(WEIGHTS))
        )
        sizes: dict[tuple[int, int], int] = {}
        for folder in folders:
            for path in folder.glob(WEIGHTS):
                status = path.stat()
                sizes[status.st_dev, status.st_ino] = status.st_size
        return Held(name, folders, sum(sizes.values()), max(folder.stat().st_mtime_ns for folder in folders))

    def _evict(self, one: Held) -> None:
        for folder in one.folders:
            if folder.parent == self.store:  # whole or absent: nobody may find a part of it under its name
                going = self.store / f"{GOING}{one.id}-evicted-{os.getpid()}"
                folder.rename(going)
                shutil.rmtree(going)
            else:
                for path in folder.glob(WEIGHTS):
                    path.unlink()


def on_front(report: Path) -> tuple[str, ...]:
    """The candidates that the last report (reports/front.json) put on the front or calls candidates."""
    if not report.is_file():
        return ()
    rows = read_json(report)
    return tuple(
        row["id"]
        for row in rows
        if row["kind"] == "candidate" and (row["on_front"] or row["outcome"] == "candidate")
    )


def touch(folder: Path) -> None:
    """Say that the weights in this folder were of use now."""
    with suppress(OSError):  # a folder that may not be written is not evicted either
        os.utime(folder)


def _files(folders: Collection[Path]) -> Iterator[os.stat_result]:
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):  # a draft of another process, which ended meanwhile
                if path.is_file() and not path.is_symlink():
                    yield path.stat()
