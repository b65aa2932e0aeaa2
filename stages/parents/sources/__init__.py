"""Where parents come from: one file per kind of source, and this list of them.

A source only names bytes. They are trusted after `acquire` has copied, scanned and hashed them, never before.
To add a kind: its section in core/records/source.py, one file here with its KIND, one line in KINDS.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stages.core.errors import BadCheckpoint
from stages.core.progress import transfer
from stages.core.records.source import Dvc, Hub, LocalPath, Repository, Source
from stages.core.weights.scan import ADAPTER, MODEL, Layout, named
from stages.parents.sources import dvc, hub, path, repository
from stages.parents.sources.kind import Elsewhere, Here, Kind, Remote
from stages.parents.sources.store import Store, missing

KINDS: Final[tuple[Kind, ...]] = (repository.KIND, path.KIND, hub.KIND, dvc.KIND)
HERE: Final = {kind.name: kind for kind in KINDS if isinstance(kind, Here)}
ELSEWHERE: Final = {kind.name: kind for kind in KINDS if isinstance(kind, Elsewhere)}


@dataclass(frozen=True)
class Wanted:
    """One file of a source, and its bytes that must still be fetched: 0 if it is here."""

    name: str
    bytes: int


def work_folder(root: Path) -> Path:
    """Where fetched files are kept between runs: in MERGELAB_STORE, else in .mergelab."""
    return Path(os.environ.get("MERGELAB_STORE", root / ".mergelab")) / "sources"


def locate(identifier: str, source: Repository | LocalPath, root: Path) -> Path:
    """The folder of this machine that holds the parent `identifier`, absolute; for a source that is here.

    root: the repository's. Raises BadCheckpoint (`source-outside`, `source-path`, `source-missing`,
    `unreadable`).
    """
    try:
        folder = HERE[source.kind].locate(identifier, source, root)
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


def connect(source: Hub | Dvc) -> Remote:
    """The place elsewhere that a source names; nothing is asked of it yet."""
    return ELSEWHERE[source.kind].connect(source)


def bring(identifier: str, source: Source, root: Path, workspace: Path, layout: Layout = MODEL) -> Path:
    """A folder of this machine with the files of a source, fetched if they are elsewhere and not here yet.

    workspace: an empty folder of the caller's, which the files of a remote source are linked into.
    Raises BadCheckpoint for whatever is not what was asked for; LabError if a place cannot be reached: what
    has arrived until then is kept, and the next call goes on from there.
    """
    if not isinstance(source, Hub | Dvc):
        return locate(identifier, source, root)
    store, remote = Store(work_folder(root)), connect(source)
    with store.alone():
        offers = missing(store, remote, source.files, layout)
        total = sum(offer.bytes for offer in offers.values())
        with transfer(identifier, total) as grew:
            for name, offer in offers.items():
                grew(min(store.arrived(source.files[name]), offer.bytes))
                store.fetch(remote, offer, source.files[name], grew)
        store.lend(source.files, workspace)
    return workspace


def wanted(source: Source, root: Path, layout: Layout = MODEL) -> list[Wanted]:
    """What `bring` would have to fetch, file by file; nothing for a source that is here. It asks the
    place."""
    if not isinstance(source, Hub | Dvc):
        return []
    store, remote = Store(work_folder(root)), connect(source)
    offers = missing(store, remote, source.files, layout)
    return [
        Wanted(name, offers[name].bytes - store.arrived(sha256) if name in offers else 0)
        for name, sha256 in source.files.items()
    ]


def problems(identifier: str, source: Source, root: Path, *, adapter: bool) -> Iterator[str]:
    """What is wrong with a source as it stands in a request, told without a network; `key: sentence` each."""
    key = f"parents.members.{identifier}.source"
    layout = ADAPTER if adapter else MODEL
    if isinstance(source, Hub | Dvc):
        for name in source.files:
            yield from (f"{key}.files: {problem.message}" for problem in named(name, None, layout))
        for problem in layout.incomplete(source.files):
            yield f"{key}.files: {problem.message}"
        return
    try:
        locate(identifier, source, root)
    except BadCheckpoint as refusal:
        yield f"{key}.path: no directory {source.path!r} here ({refusal.code})"
