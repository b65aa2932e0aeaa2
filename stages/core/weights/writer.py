"""Output files: sizes known before, bytes in order, digests in the same pass."""

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from stages.core.errors import LabError
from stages.core.weights.plan import Plan
from stages.core.weights.threads import OrderedSha256

SYNC_BYTES = 1 << 26  # written before a sync is asked for


def preallocate(plan: Plan, directory: Path) -> None:
    """Create every output file at its exact size, full of zeros, in `directory`.

    A worker that may write these files and create none cannot outgrow its quota. A file of zeros is no valid
    safetensors file, so a merge that is killed leaves nothing that loads.
    Raises LabError if a file exists, or if the disk cannot hold them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, size in plan.files.items():
        try:
            handle = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError as problem:
            raise LabError(f"{directory / name} exists. Merge into an empty directory") from problem
        try:
            os.posix_fallocate(handle, 0, size)
        except OSError as problem:
            raise LabError(
                f"cannot reserve {size} bytes: {directory / name}: {problem.strerror}"
            ) from problem
        finally:
            os.close(handle)


class Writer:
    """Writes the planned files of one merge into `directory`, where `preallocate` made them.

    Tensor bytes are written and hashed in output order. Headers are hashed first, but written last. lane:
    hashes. sync: brings what was written to the disk meanwhile, so that the end does not wait for all of it.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        lane: ThreadPoolExecutor | None = None,
        sync: ThreadPoolExecutor | None = None,
    ) -> None:
        self._sync, self._unsynced = sync, 0
        self._syncing: Future[None] | None = None
        self._texts = plan.texts
        self._sizes = plan.files
        self._handles: dict[str, int] = {}
        self._digests = {name: OrderedSha256(lane) for name in plan.texts}
        for name, text in plan.texts.items():
            self._digests[name].update(memoryview(text))
        self._ends = {name: len(text) for name, text in plan.texts.items()}
        for name, size in plan.files.items():
            try:
                self._handles[name] = os.open(directory / name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError as problem:
                self.close()
                raise LabError(f"cannot write {directory / name}: {problem.strerror}") from problem
            if os.fstat(self._handles[name]).st_size != size:
                self.close()
                raise LabError(f"{directory / name} was not made for this plan: expected {size} bytes")

    def write(self, file: str, data: memoryview) -> None:
        """Append `data` (bytes) to the tensors of `file`; the buffer must not be changed afterwards."""
        self._digests[file].update(data)
        self._put(file, data, self._ends[file])
        self._ends[file] += len(data)
        self._unsynced += len(data)
        if self._sync is not None and self._unsynced >= SYNC_BYTES:
            self._synced()
            self._unsynced = 0
            self._syncing = self._sync.submit(os.fdatasync, self._handles[file])

    def finish(self) -> Mapping[str, str]:
        """Write the headers, sync, and return name -> sha256. Raises LabError if a file is not full."""
        for name, size in self._sizes.items():
            if self._ends[name] != size:
                raise LabError(f"{name} is incomplete: {self._ends[name]} of {size} bytes were written")
        self._synced()
        for name, text in self._texts.items():
            os.fsync(self._handles[name])
            self._put(name, memoryview(text), 0)
            os.fsync(self._handles[name])
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    def close(self) -> None:
        """Close the files."""
        with suppress(OSError):  # of no more interest: whoever gets here without `finish` has failed already
            self._synced()
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _synced(self) -> None:
        """Wait for the sync under way. Raises its OSError."""
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def _put(self, file: str, data: memoryview, offset: int) -> None:
        done = 0
        while done < len(data):
            done += os.pwrite(self._handles[file], data[done:], offset + done)
