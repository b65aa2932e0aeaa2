"""A folder of this repository: git says who put what there."""

from pathlib import Path, PurePosixPath
from typing import Final

from stages.core.errors import BadCheckpoint
from stages.core.records.source import Repository
from stages.parents.sources.kind import Here


def locate(identifier: str, source: Repository, root: Path) -> Path:
    """The folder under `root`, links followed before it is judged. Raises BadCheckpoint
    (`source-outside`)."""
    path = PurePosixPath(source.path)
    folder = (root / path).resolve()
    home = root.resolve()
    inside = folder != home and folder.is_relative_to(home)
    if path.is_absolute() or ".." in path.parts or not inside:
        raise BadCheckpoint(
            "source-outside",
            f"{identifier}: {source.path} does not lie in the repository. Name a folder under it, "
            "or use {kind: path, path: …, digest: …}.",
        )
    return folder


KIND: Final = Here("repository", locate)
