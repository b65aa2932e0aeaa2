"""Bytes of the regions of a parent that a budget chose; everywhere else the bytes of the base stand in.

The files are not hashed whole, which would read them whole: each region that is used is compared with its
digest in the index, which was taken when the whole file was.
"""

import hashlib
import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from stages.core.errors import BadCheckpoint, LabError
from stages.core.weights.backend import Bytes
from stages.core.weights.hashing import AHEAD
from stages.core.weights.numerics import REGION
from stages.core.weights.reader import TensorSpec, fill, open_file
from stages.core.weights.regions import Index


class Ration:
    """Counts the bytes that all parents of one merge give, and lets no more be read than the limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.taken = limit, 0

    def take(self, size: int) -> None:
        """Before so many bytes are read. Raises LabError where they would exceed the limit."""
        if self.taken + size > self.limit:
            raise LabError(
                f"a budget of {self.limit} bytes: {self.taken} are read, {size} more were asked for"
            )
        self.taken += size


class ChosenParent:
    """The open files of one parent under a budget. Tensors are read once, in order, from one thread.

    chosen: of each tensor, which regions are read. lane: compares digests; None does it at once.
    """

    def __init__(
        self,
        folder: Path,
        tensors: Mapping[str, TensorSpec],
        *,
        index: Index,
        chosen: Mapping[str, Sequence[bool]],
        ration: Ration,
        lane: ThreadPoolExecutor | None = None,
    ) -> None:
        self._folder, self._tensors, self._index = folder, tensors, index
        self._chosen, self._ration, self._lane = chosen, ration, lane
        self._handles: dict[str, int] = {}
        self._ahead: deque[Future[None]] = deque()
        self._last: tuple[str, int] | None = None
        self._region = np.empty(0, np.uint8)

    def read(self, name: str, start: int, count: int, instead: Bytes | None) -> Bytes:
        """uint8: at most `count` elements of a tensor, from `start`.

        instead: the base's bytes of the same elements; None where every region is read.
        Raises BadCheckpoint (`file-altered`), now or in `finish`, for bytes that are not those of the index.
        """
        spec = self._tensors[name]
        size, stop = (spec.end - spec.start) // spec.elements, min(spec.elements, start + count)
        found = np.empty((stop - start) * size, np.uint8)
        for region in range(start // REGION, -(-stop // REGION)):
            first, last = region * REGION, min(spec.elements, (region + 1) * REGION)
            low, high = max(start, first), min(stop, last)
            part = slice((low - start) * size, (high - start) * size)
            if not self._chosen[name][region]:
                if instead is None:
                    raise LabError(f"{name}: region {region} is neither read nor known from the base")
                found[part] = instead[part]
            elif (low, high) == (first, last):
                self._load(name, region, found[part])
            else:
                found[part] = self._kept(name, region)[(low - first) * size : (high - first) * size]
        return found

    def finish(self) -> None:
        """Raise BadCheckpoint unless every region read was that of the index."""
        while self._ahead:
            self._ahead.popleft().result()

    def close(self) -> None:
        """Close the files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def _kept(self, name: str, region: int) -> Bytes:
        """A region that blocks cut: read once, and kept until another is asked for."""
        if self._last != (name, region):
            spec = self._tensors[name]
            size = (spec.end - spec.start) // spec.elements
            self._region = np.empty(min(REGION, spec.elements - region * REGION) * size, np.uint8)
            self._load(name, region, self._region)
            self._last = name, region
        return self._region

    def _load(self, name: str, region: int, into: Bytes) -> None:
        spec = self._tensors[name]
        path, start = self._folder / spec.file, region * REGION * ((spec.end - spec.start) // spec.elements)
        if spec.file not in self._handles:
            self._handles[spec.file] = open_file(path)
        self._ration.take(len(into))
        fill(self._handles[spec.file], into.data, spec.start + start, path)
        wanted = self._index[name].sha256[region]
        if self._lane is None:
            _compare(into, wanted, name, region, path)
            return
        self._ahead.append(self._lane.submit(_compare, into, wanted, name, region, path))
        if len(self._ahead) > AHEAD:
            self._ahead.popleft().result()


def _compare(data: Bytes, wanted: str, name: str, region: int, path: Path) -> None:
    if hashlib.sha256(data.data).hexdigest() != wanted:
        raise BadCheckpoint(
            "file-altered",
            f"{path} is not what its manifest says: region {region} of {name!r} is not the one that was "
            "indexed. Restore or acquire it again.",
        )
