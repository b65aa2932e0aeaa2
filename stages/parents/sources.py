"""Where a parent comes from: a folder of the repository, or a folder of this machine.

A source only names bytes. They are trusted after `acquire` has copied, scanned and hashed them, never before.
To add a kind of source: one function in KINDS that gives a local folder.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from stages.conf import Source
from stages.core.errors import BadCheckpoint


def locate(identifier: str, source: Source, root: Path) -> Path:
    """The folder that holds the parent `identifier`, absolute.

    root: the repository's. Raises BadCheckpoint (`source-outside`, `source-path`, `source-missing`,
    `unreadable`).
    """
    try:
        folder = KINDS[source.kind](identifier, source, root)
    except (ValueError, RuntimeError) as problem:  # a NUL in the path, links in a circle
        raise BadCheckpoint(
            "source-path", f"{identifier}: {source.path!r} is no path: {problem}."
        ) from problem
    if not folder.is_dir():
        where = f"parents.members.{identifier}.source.path"
        raise BadCheckpoint("source-missing", f"{identifier}: no folder {source.path}. Correct {where}.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise BadCheckpoint("unreadable", f"{identifier}: {source.path} may not be read. Change its mode.")
    return folder


def _repository(identifier: str, source: Source, root: Path) -> Path:
    """A folder under `root`, links followed before it is judged: git says who put what there."""
    path = PurePosixPath(source.path)
    folder = (root / path).resolve()
    home = root.resolve()
    inside = folder != home and folder.is_relative_to(home)
    if path.is_absolute() or ".." in path.parts or not inside:
        raise BadCheckpoint(
            "source-outside",
            f"{identifier}: {source.path} does not lie in the repository. Name a folder under it, "
            "or use {kind: local, path: …, digest: …}.",
        )
    return folder


def _local(identifier: str, source: Source, root: Path) -> Path:
    """A folder outside the repository, where nothing records a change: only a digest makes it repeatable."""
    del root
    folder = Path(source.path).expanduser()
    if not folder.is_absolute():
        raise BadCheckpoint(
            "source-path",
            f"{identifier}: a local path is absolute or starts with ~, got {source.path}. "
            "For a folder of the repository use {kind: repository}.",
        )
    return folder.resolve()


KINDS: Final[Mapping[str, Callable[[str, Source, Path], Path]]] = {"repository": _repository, "local": _local}
