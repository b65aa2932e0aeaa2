"""What was fetched, by sha256, in the work folder: a file is kept whole and checked, or as a part to go on
from.

`files/<sha256>` is a file whose bytes have that digest, told anew at each use; `parts/<sha256>` what has
arrived of one. Whoever holds the lock is alone: runs that share the store fetch a file once.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import BadCheckpoint
from stages.core.records.files import link_or_copy, sha256_file
from stages.core.weights import scan
from stages.core.weights.scan import Layout
from stages.parents.sources.kind import Grew, Offer, Remote


class Store:
    """The files of remote sources in one folder."""

    def __init__(self, folder: Path) -> None:
        self._files, self._parts = folder / "files", folder / "parts"
        self._lock = folder / "lock"

    def holds(self, sha256: str) -> bool:
        """Whether the whole file is here. One that was altered since is removed."""
        path = self._files / sha256
        if not path.is_file():
            return False
        if sha256_file(path) == sha256:
            return True
        path.unlink()
        return False

    def arrived(self, sha256: str) -> int:
        """Bytes of a file that is not whole yet."""
        part = self._parts / sha256
        return part.stat().st_size if part.is_file() else 0

    def lend(self, files: Mapping[str, str], folder: Path) -> None:
        """Give `folder` the files (name → sha256), all of which are here."""
        for name, sha256 in files.items():
            link_or_copy(self._files / sha256, folder / name)

    def fetch(self, remote: Remote, offer: Offer, sha256: str, grew: Grew) -> None:
        """Make the file whole, from where an earlier attempt ended; for a caller within `alone`.

        Raises BadCheckpoint (`source-digest`) if its bytes are others, which are then thrown away; a network
        that fails leaves the part.
        """
        if offer.sha256 not in (None, sha256):
            raise _other(remote, offer.name, sha256, f"it states {offer.sha256}")
        part = self._parts / sha256
        part.touch()
        if part.stat().st_size > offer.bytes:
            os.truncate(part, 0)
        remote.download(offer, part, grew)
        if (got := sha256_file(part)) != sha256:
            part.unlink()
            raise _other(remote, offer.name, sha256, f"its bytes give {got}")
        part.replace(self._files / sha256)

    def keep(self, path: Path) -> str:
        """Take a file in whose digest was not known before; its sha256."""
        sha256 = sha256_file(path)
        if not self.holds(sha256):
            path.replace(self._files / sha256)
        return sha256

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody else fetches into this store."""
        for folder in (self._files, self._parts):
            folder.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def missing(store: Store, remote: Remote, files: Mapping[str, str], layout: Layout) -> dict[str, Offer]:
    """What must be fetched: name → offer, each judged by name and size before a byte of it is asked for.

    Raises BadCheckpoint with the code of the first name or size that no artifact has.
    """
    of = f"{remote.where}/"
    named = [problem for name in files for problem in scan.named(name, None, layout)]
    scan.refuse([*named, *layout.incomplete(files)], of)
    offers = {name: remote.look(name) for name, sha256 in files.items() if not store.holds(sha256)}
    scan.refuse(
        [problem for offer in offers.values() for problem in scan.named(offer.name, offer.bytes, layout)], of
    )
    return offers


def _other(remote: Remote, name: str, sha256: str, got: str) -> BadCheckpoint:
    return BadCheckpoint(
        "source-digest",
        f"{name} of {remote.where} is not the file asked for: expected sha256 {sha256}, {got}. Nothing of "
        "it was "
        "kept. Review what the source holds now; only then change the request.",
    )
