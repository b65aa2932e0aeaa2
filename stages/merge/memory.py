"""What earlier merges found out about the same parents: digests and statistics, so that none is taken twice.

    .mergelab/memory/digests.json            stamp of a file -> its sha256 (records/seen.py)
    .mergelab/memory/statistics/<name>.json  one subject: what was measured of one parent, or of several
    .mergelab/memory/index/<name>.json       one parent against one base, for byte budgets (regions.py)

All of it is a cache that may be deleted at any time. A file that was cut or altered is passed over: each
holds a digest of its content. `mergelab verify` and `rebuild` use none of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records.canonical import Json, dumps, read_json, write_json
from stages.core.records.files import sha256_bytes
from stages.core.records.manifest import Manifest
from stages.core.records.seen import Seen, stamp
from stages.core.weights import regions, statistics
from stages.core.weights.plan import Plan
from stages.core.weights.regions import Index
from stages.core.weights.statistics import Facts

NAME_HEX = 32
STATISTICS, INDEX = "statistics", "index"  # kinds of entries, and their folders


@dataclass(frozen=True)
class Memory:
    """The memory in `folder`; without a folder nothing is remembered."""

    folder: Path | None = None
    _before: dict[Path, str] = field(default_factory=dict)

    @property
    def digests(self) -> Seen:
        """Digests of files."""
        return Seen(self.folder / "digests.json" if self.folder else None)

    def stamps(self, folders: Mapping[str, Path], manifests: Mapping[str, Manifest]) -> Json:
        """Digest -> file -> stamp, for files of parents that are known to have their manifest's digest."""
        found: dict[str, dict[str, str]] = {}
        for digest, folder in folders.items():
            for name, record in manifests[digest].files.items():
                path = folder / name
                if self.folder is not None and path.is_file():
                    self._before[path] = stamp(path.stat())
                    known = self.digests.stamp(path, record.sha256)
                    found.setdefault(digest, {}).update({name: known} if known else {})
        return found

    def verified(self, folders: Mapping[str, Path], manifests: Mapping[str, Manifest]) -> None:
        """Remember the digests of files that a merge has just verified, after `stamps` of the same."""
        self.digests.note(
            [
                (folder / name, self._before[folder / name], record.sha256)
                for digest, folder in folders.items()
                for name, record in manifests[digest].files.items()
                if name.endswith(".safetensors") and folder / name in self._before
            ]
        )

    def facts(self, plan: Plan) -> Facts:
        """What is known of the statistics that a merge by this plan will ask for."""
        found: dict[str, dict[str, list[float]]] = {}
        for subject, entries in statistics.wanted(plan).items():
            known = self._load(STATISTICS, subject)
            found[subject] = {entry: known[entry] for entry in entries if entry in known}
        return found

    def keep(self, measured: Facts) -> None:
        """Add what a merge has measured."""
        for subject, entries in measured.items():
            known = self._load(STATISTICS, subject)
            self._store(STATISTICS, subject, known | {entry: list(one) for entry, one in entries.items()})

    def index(self, base: str, parent: str) -> Index | None:
        """The index of a parent against a base, by digests; None if it is not known."""
        known = self._load(INDEX, regions.subject(base, parent))
        return regions.from_json(known) if known else None

    def keep_index(self, base: str, parent: str, index: Index) -> None:
        """Remember an index that was made of files with those digests."""
        self._store(INDEX, regions.subject(base, parent), regions.to_json(index))

    def _store(self, kind: str, subject: str, entries: Json) -> None:
        path = self._path(kind, subject)
        if path is not None:
            write_json(path, {"subject": subject, "entries": entries, "sha256": _digest(subject, entries)})

    def _load(self, kind: str, subject: str) -> dict[str, Json]:
        """The entries of a subject; {} if there are none, or if they are not as they were stored."""
        path = self._path(kind, subject)
        if path is None or not path.is_file():
            return {}
        try:
            tree = read_json(path)
            entries: dict[str, Json] = tree["entries"]
            whole = tree["sha256"] == _digest(subject, entries)
        except (LabError, KeyError, TypeError):
            return {}
        return entries if whole else {}

    def _path(self, kind: str, subject: str) -> Path | None:
        name = f"{sha256_bytes(subject.encode())[:NAME_HEX]}.json"
        return self.folder / kind / name if self.folder else None


def _digest(subject: str, entries: Json) -> str:
    return sha256_bytes(dumps([subject, entries]))
