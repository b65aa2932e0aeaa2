"""A folder outside the repository, where nothing records a change: only a digest makes it repeatable."""

from pathlib import Path
from typing import Final

from stages.core.errors import BadCheckpoint
from stages.core.records.source import LocalPath
from stages.parents.sources.kind import Here


def locate(identifier: str, source: LocalPath, root: Path) -> Path:
    """The folder, absolute, `~` and links followed. Raises BadCheckpoint (`source-path`) if it is
    relative."""
    del root
    folder = Path(source.path).expanduser()
    if not folder.is_absolute():
        raise BadCheckpoint(
            "source-path",
            f"{identifier}: a path is absolute or starts with ~, got {source.path}. "
            "For a folder of the repository use {kind: repository}.",
        )
    return folder.resolve()


KIND: Final = Here("path", locate)
