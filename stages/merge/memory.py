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
class Look:
    """Files of parents at one moment. before: (digest, file) -> stamp. stamps: where the digest is known."""

    before: dict[tuple[str, str], str] = field(default_factory=dict)
    stamps: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """The memory in `folder`; without a folder nothing is remembered."""

    folder: Path | None = None

    @property
    def digests(self) -> Seen:
        """Digests of files."""
        return Seen(self.folder / "digests.json" if self.folder else None)

    def look(self, folders: Mapping[str, Path], manifests: Mapping[str, Manifest]) -> "Look":
        """The parents' files as they are now, before a merge reads them."""
        looked = Look()
        if self.folder is None:
            return looked
        for digest, folder in folders.items():
            for name, record in manifests[digest].files.items():
                if (folder / name).is_file():
                    looked.before[digest, name] = stamp((folder / name).stat())
                    if known := self.digests.stamp(folder / name, record.sha256):
                        looked.stamps.setdefault(digest, {})[name] = known
        return looked

    def verified(
        self, looked: "Look", folders: Mapping[str, Path], manifests: Mapping[str, Manifest]
    ) -> None:
        """Remember the digests of the weights in `folders`, which a merge has verified since that look."""
        self.digests.note(
            [
                (folders[digest] / name, before, manifests[digest].files[name].sha256)
                for (digest, name), before in looked.before.items()
                if digest in folders and name.endswith(".safetensors")
            ]
        )

    def facts(self, plan: Plan) -> Facts:
        """What is known of the statistics that a merge by this plan will ask for."""
        found: dict[str, dict[str, list[float]]] = {}
        for subject, entries in statistics.wanted(plan).items():
            known = self._load(STATISTICS, subject)
            found[subject] = {entry: known[entry] for entry in entries if entry in known}
        return found

    def keep(self, plan: Plan, measured: Facts) -> None:
        """Add what a merge by this plan has measured; of a worker's word, only what it was to measure."""
        for subject, entries in statistics.wanted(plan).items():
            new = {
                entry: list(measured[subject][entry])
                for entry in entries
                if entry in measured.get(subject, {})
            }
            if new:
                self._store(STATISTICS, subject, self._load(STATISTICS, subject) | new)

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
