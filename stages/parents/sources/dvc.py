"""Files of a folder that another repository tracks with git and DVC, at one commit, through DVC itself.

DVC finds the bytes: in that repository's git objects, in its cache, or on its remote (S3 and the rest), with
whatever credentials DVC is configured with; the lab reads none. Neither git's nor DVC's own hashes are what
the bytes are trusted by. A link in git arrives as the text of its target.
Not covered: where that repository's configuration sends DVC. Review it with the commit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from stages.core.errors import BadCheckpoint, LabError
from stages.core.records.source import Dvc
from stages.parents.sources.kind import Elsewhere, Grew, Offer

READ_BYTES: Final = 1 << 20


class DvcRemote:
    """One folder of one commit of one repository."""

    def __init__(self, source: Dvc) -> None:
        self._source = source
        self.where = f"{source.path} of {source.url} at {source.commit[:12]}"

    def listing(self) -> Mapping[str, int]:
        """Name → bytes of every entry of the folder; a folder in it ends in `/` and counts no bytes."""
        with self._asking("its list of files"):
            found = self._files.ls(self._folder, detail=True)
        plain = {PurePosixPath(entry["name"]).name: entry for entry in found}
        return {
            (name if entry["type"] == "file" else f"{name}/"): int(entry["size"] or 0)
            for name, entry in sorted(plain.items())
        }

    def look(self, name: str) -> Offer:
        """The size that git or DVC states. Raises BadCheckpoint (`dvc-missing`, `dvc-not-a-file`)."""
        with self._asking(name):
            try:
                about = self._files.info(f"{self._folder}/{name}")
            except FileNotFoundError as problem:
                raise BadCheckpoint(
                    "dvc-missing", f"{name} is not in {self.where}. Correct path and files in the request."
                ) from problem
        if about["type"] != "file":
            raise BadCheckpoint("dvc-not-a-file", f"{name} of {self.where} is a folder, no file.")
        return Offer(name, int(about["size"]))

    def download(self, offer: Offer, target: Path, grew: Grew) -> None:
        """Append to `target` what is missing. Raises BadCheckpoint (`dvc-size`) for another size."""
        with target.open("ab") as writer, self._asking(offer.name):
            with self._files.open(f"{self._folder}/{offer.name}", "rb") as reader:
                _skip(reader, writer.tell())
                while writer.tell() <= offer.bytes and (block := reader.read(READ_BYTES)):
                    grew(writer.write(block))
            size = writer.tell()
        if size != offer.bytes:
            raise BadCheckpoint(
                "dvc-size",
                f"{offer.name} of {self.where}: expected {offer.bytes} bytes, as DVC states, got {size}.",
            )

    @property
    def _folder(self) -> str:
        return self._source.path.strip("/")

    @cached_property
    def _files(self) -> Any:
        """A file system over that commit; DVC clones the repository into a folder of its own for it."""
        from dvc.api import DVCFileSystem

        return DVCFileSystem(url=self._source.url, rev=self._source.commit)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except (LabError, KeyboardInterrupt):
            raise
        except Exception as problem:
            # DVC, git and each remote's own library raise what they like: none of it may end in a traceback
            raise LabError(
                f"cannot fetch {what} of {self.where}: {type(problem).__name__}: {problem}. What has "
                "arrived is kept: run it again. A remote on S3 needs the extra `s3`: pip install -e '.[s3]'."
            ) from problem


def _skip(reader: BinaryIO, count: int) -> None:
    """Go to byte `count`: a file in git is a stream that cannot jump."""
    if reader.seekable():
        reader.seek(count)
    while not reader.seekable() and count > 0 and (block := reader.read(min(count, READ_BYTES))):
        count -= len(block)


KIND: Final = Elsewhere("dvc", DvcRemote)
