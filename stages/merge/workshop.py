"""The workshop of a repository: its acquired parents, its isolation, its environment and its store."""

import os
from pathlib import Path

from stages.conf import Request
from stages.core.errors import LabError
from stages.core.records.files import sweep_parts
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits
from stages.merge.build import Workshop, acquire, environment
from stages.merge.memory import Memory
from stages.merge.quota import Quota, on_front

PARENTS = Path("data/parents")
CANDIDATES = Path("data/candidates")


def workshop(root: Path, request: Request) -> Workshop:
    """The workshop of `request` in the repository `root`, swept of what killed stages left half written.

    Raises LabError if a parent was not acquired.
    """
    roles = {request.parents.base: "base"} | dict.fromkeys(request.parents.merge, "parent")
    missing = [name for name in roles if not (root / PARENTS / name / "manifest.json").is_file()]
    if missing:
        raise LabError(f"not acquired yet: {', '.join(missing)}. Run `dvc repro parents`.")
    for folder in (work_folder(root), root / "data"):
        sweep_parts(folder)
    section = request.isolation
    return Workshop(
        family=tuple(acquire(root / PARENTS / name, name, role) for name, role in roles.items()),
        isolation=Isolation(section.level, section.minimum),
        limits=Limits(section.wall_seconds, section.cpu_seconds, section.memory_bytes),
        environment=environment(root / "constraints.txt"),
        memory=Memory(work_folder(root) / "memory"),
        quota=quota(root, request),
    )


def quota(root: Path, request: Request) -> Quota:
    """The quota of `request` over the work cache and data/; the front of the last report is pinned."""
    return Quota(
        request.storage.quota_bytes,
        store=store_folder(root),
        candidates=root / CANDIDATES,
        counted=(work_folder(root), root / "data"),
        pinned=on_front(root / "reports/front.json"),
    )


def work_folder(root: Path) -> Path:
    """Where work is kept between runs: MERGELAB_STORE, else .mergelab."""
    return Path(os.environ.get("MERGELAB_STORE", root / ".mergelab"))


def store_folder(root: Path) -> Path:
    """Where finished candidates are kept between runs."""
    return work_folder(root) / "candidates"
