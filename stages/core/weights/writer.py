"""Output files: sizes known before, bytes in order, digests in the same pass."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from stages.core.errors import LabError
from stages.core.weights.hashing import Hashing
from stages.core.weights.plan import Plan
from stages.core.weights.staging import OutputFile, Staging


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

    Tensor bytes are written and hashed in output order. Headers are hashed first, but written last.
    hashing: of the merge. writes: puts bytes on the disk meanwhile.
    """

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        hashing: Hashing | None = None,
        writes: ThreadPoolExecutor | None = None,
    ) -> None:
        self._staging = Staging(writes)
        self._texts = plan.texts
        self._sizes = plan.files
        self._files: dict[str, OutputFile] = {}
        hashing = hashing or Hashing()
        self._digests = {name: hashing.digest() for name in plan.texts}
        for name, text in plan.texts.items():
            self._digests[name].update(memoryview(text))
        self._ends = {name: len(text) for name, text in plan.texts.items()}
        for name, size in plan.files.items():
            try:
                self._files[name] = OutputFile(directory / name)
            except OSError as problem:
                self.close()
                raise LabError(f"cannot write {directory / name}: {problem.strerror}") from problem
            if self._files[name].bytes != size:
                self.close()
                raise LabError(f"{directory / name} was not made for this plan: expected {size} bytes")

    def write(self, file: str, data: memoryview) -> None:
        """Append `data` (bytes) to the tensors of `file`; the buffer must not be changed afterwards."""
        self._digests[file].update(data)
        self._staging.put(self._files[file], data, self._ends[file])
        self._ends[file] += len(data)

    def finish(self) -> Mapping[str, str]:
        """Write the headers, sync, and return name -> sha256. Raises LabError if a file is not full."""
        for name, size in self._sizes.items():
            if self._ends[name] != size:
                raise LabError(f"{name} is incomplete: {self._ends[name]} of {size} bytes were written")
        self._staging.flush()
        for name, text in self._texts.items():
            self._files[name].sync()
            self._staging.put(self._files[name], memoryview(text), 0)
            self._staging.flush()
            self._files[name].sync()
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    def close(self) -> None:
        """Close the files."""
        self._staging.close()
        for file in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
