"""Fetch what a request's parents need and keep it, without acquiring anything: `mergelab parents fetch`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.conf import Parents
from stages.core.weights.scan import ADAPTER, MODEL
from stages.parents import sources


@dataclass(frozen=True)
class Need:
    """One file of one parent: bytes that were, or would be, fetched; 0 for one that was here."""

    parent: str
    file: str
    bytes: int


def fetch(parents: Parents, root: Path, *, dry_run: bool) -> list[Need]:
    """Every file of every parent that lies elsewhere, in the order of the request.

    dry_run: only ask for sizes. Raises BadCheckpoint for what is not as the request pins it, LabError if a
    place cannot be reached.
    """
    return list(_needs(parents, root, dry_run=dry_run))


def _needs(parents: Parents, root: Path, *, dry_run: bool) -> Iterator[Need]:
    folder = sources.work_folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    for name, member in parents.members.items():
        layout = ADAPTER if member.adapter_on else MODEL
        wanted = sources.wanted(member.source, root, layout)
        if wanted and not dry_run:
            with TemporaryDirectory(prefix="lent-", dir=folder) as lent:
                sources.bring(name, member.source, root, Path(lent), layout)
        yield from (Need(name, want.name, want.bytes) for want in wanted)
