"""Bytes of input files, hashed as they are used: what is merged is what the manifest names.

A digest taken before the merge says nothing about bytes read later. Here each file is hashed once, in file
order, from the very buffers that are merged; bytes wanted out of order or again are compared, piece by piece,
with what was hashed.
"""

import hashlib
import mmap
import os
import secrets
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
import xxhash

from stages.core.errors import BadCheckpoint
from stages.core.records import seen
from stages.core.weights.backend import Bytes
from stages.core.weights.hashing import Hashing
from stages.core.weights.reader import FileSpec, fill, open_file

WINDOW = 1 << 23  # bytes of a file mapped at a time: its pages count as resident


class VerifiedFile:
    """One input file, open for reading in pieces fixed beforehand.

    spec: what the plan knows of it. pieces: disjoint (start, end) byte ranges that cover all after the head.
    sha256: what the whole file must hash to; None leaves it unverified. stamp: of a file that is known to
    have that digest (records/seen.py): while it still carries it, the file is not hashed. hashing: of
    the merge.
    Raises BadCheckpoint (`file-altered`) when the head is not the one planned with.
    """

    def __init__(
        self,
        path: Path,
        spec: FileSpec,
        pieces: Iterable[tuple[int, int]],
        sha256: str | None,
        *,
        hashing: Hashing | None = None,
        stamp: str | None = None,
    ) -> None:
        self.path = path
        self._ahead = deque(sorted(piece for piece in pieces if piece[0] < piece[1]))
        self._seen: dict[int, bytes] = {}
        self._seed = secrets.randbits(64)
        self._handle = open_file(path)
        found = os.fstat(self._handle)
        self._window = 0, np.empty(0, np.uint8)
        self._bytes = size = found.st_size
        self._stamp = stamp if stamp == seen.stamp(found) else None
        self._expected = sha256 if self._stamp is None else None
        head = self._load(0, spec.head_bytes) if size == spec.bytes else None
        self._digest = (hashing or Hashing()).digest()
        if head is None or hashlib.sha256(head.data).hexdigest() != spec.head_sha256:
            self.close()
            self._altered("its header is not the one planned with")
        if self._expected is not None:
            self._digest.update(head.data)

    @property
    def mapped(self) -> bool:
        """Whether what is read is a view of the file, since nothing need be hashed."""
        return self._expected is None

    def read(self, start: int, end: int, *, again: bool = False) -> Bytes:
        """uint8 [end - start]: one of the pieces, not to be written to. again: it will be wanted once more.

        What is hashed is a private copy. What need not be is mapped: a copy costs more than the arithmetic.
        Raises BadCheckpoint (`file-altered`) if a piece read again differs from the piece that was hashed.
        """
        if self._expected is None:
            return self._mapped(start, end)
        while self._ahead and self._ahead[0][0] < start:
            self._take(record=True)
        if self._ahead and self._ahead[0][0] == start:
            return self._take(record=again)
        piece = self._load(start, end)
        if self._fingerprint(piece) != self._seen[start]:
            self._altered(f"bytes {start} to {end} changed between two reads")
        return piece

    def finish(self) -> None:
        """Hash what was never asked for. Raises BadCheckpoint (`file-altered`) unless the digest fits."""
        if self._stamp is not None and seen.stamp(os.fstat(self._handle)) != self._stamp:
            self._altered("it changed while it was read")
        if self._expected is None:
            return
        while self._ahead:
            self._take(record=False)
        if self._digest.hexdigest() != self._expected:
            self._altered(f"expected sha256 {self._expected}, got {self._digest.hexdigest()}")

    def close(self) -> None:
        """Close the file."""
        self._window = 0, np.empty(0, np.uint8)
        os.close(self._handle)

    def _take(self, *, record: bool) -> Bytes:
        start, end = self._ahead.popleft()
        piece = self._load(start, end)
        self._digest.update(piece.data)
        if record:
            self._seen[start] = self._fingerprint(piece)
        return piece

    def _fingerprint(self, piece: Bytes) -> bytes:
        """What a piece is known again by: 128 bits that nobody who does not know the seed can aim at.

        SHA-256 once more for every reading was a third of the time of TIES.
        """
        return xxhash.xxh3_128_digest(piece.data, self._seed)

    def _mapped(self, start: int, end: int) -> Bytes:
        """A view of the window that begins at or before `start`; a window lives as long as views of it."""
        first, window = self._window
        if not first <= start <= end <= first + len(window):
            first = start - start % mmap.ALLOCATIONGRANULARITY
            stop = min(self._bytes, max(end, first + WINDOW))
            mapped = mmap.mmap(self._handle, stop - first, mmap.MAP_PRIVATE, mmap.PROT_READ, offset=first)
            window = np.frombuffer(mapped, np.uint8)
            self._window = first, window
        return window[start - first : end - first]

    def _load(self, start: int, end: int) -> Bytes:
        piece = np.empty(end - start, np.uint8)
        fill(self._handle, piece.data, start, self.path)
        return piece

    def _altered(self, how: str) -> NoReturn:
        raise BadCheckpoint(
            "file-altered", f"{self.path} is not what its manifest says: {how}. Restore or acquire it again."
        )
