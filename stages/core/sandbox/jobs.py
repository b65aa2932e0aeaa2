"""The kinds of job a worker knows. Each is a function (job, tell) → JSON, run once, after the lock.

A new kind is a function here and a line in `JOBS`; it imports what it needs inside, since nothing that starts
a thread may be imported before the lock. `tell(done, total)` reaches the caller's on_progress, and
`tell.part(value)` its on_part. A kind of another room is a module there with KIND and `run`, and a line in
`ELSEWHERE`: named, not imported, so that a stage which starts merges does not depend on how they are scored.
"""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from stages.core.errors import LabError

Json: TypeAlias = Any  # as core.records.canonical.Json, whose module a worker has no reason to import
Progress: TypeAlias = Callable[[int, int], None]


class Tell(Protocol):
    """What a job says before its result."""

    def __call__(self, done: int, total: int) -> None:
        """Progress."""

    def part(self, value: Json) -> None:
        """A part of the result, whole in itself."""


Job: TypeAlias = Callable[[Json, Tell], Json]

NOWHERE = "/nonexistent"


def merge(job: Json, progress: Progress) -> Json:
    """Digests of the files written, the method's notes, and what was measured, for a job of these keys.

    recipe: Recipe.to_json(); sources: parent digest → folder; manifests: parent digest → file → sha256;
    output: folder that holds the pre-allocated files; threads: of this worker. Optional: memory_bytes;
    kernels: folder of compiled ones; facts: statistics already known; stamps: as engine.execute takes them;
    indexes: parent digest → its index, for a recipe with read_bytes, whose answer has `budget` too.
    Raises BadCheckpoint, Unmergeable.
    """
    _have_no_temporary_folder()
    from stages.core.records import recipe as recipes
    from stages.core.weights import budget, engine, plan, regions
    from stages.core.weights.statistics import Known

    sources = {digest: Path(folder) for digest, folder in job["sources"].items()}
    options = {} if job.get("memory_bytes") is None else {"memory_bytes": job["memory_bytes"]}
    planned = plan.plan(recipes.from_json(job["recipe"]), sources, **options)
    choice = None
    if planned.read_bytes is not None:
        indexes = {digest: regions.from_json(tree) for digest, tree in job["indexes"].items()}
        choice = budget.choose(planned, indexes)
    backend, known = None, Known(job.get("facts") or {})
    if job.get("kernels"):
        from stages.core.weights.kernels.fast import Fast

        backend = Fast(planned, Path(job["kernels"]))
    done = engine.execute(
        planned,
        sources,
        job["manifests"],
        Path(job["output"]),
        threads=job["threads"],
        backend=backend,
        known=known,
        stamps=job.get("stamps"),
        choice=choice,
        on_progress=progress,
    )
    return {
        "files": dict(done.files),
        "notes": dict(done.notes),
        "measured": known.found,
        "backend": "torch" if backend is None else backend.name,
        **({} if choice is None else {"budget": choice.to_json(planned)}),
    }


def index(job: Json, progress: Progress) -> Json:
    """The index of a parent against its base (core/weights/index.py), for a job of these keys.

    base, parent: {role, folder, sha256 of its files by name}; threads: of this worker.
    Raises BadCheckpoint, Unmergeable.
    """
    from stages.core.weights import regions
    from stages.core.weights.index import Side, build

    base, parent = (
        Side(side["role"], Path(side["folder"]), side["sha256"]) for side in (job["base"], job["parent"])
    )
    found = build(base, parent, threads=job["threads"], on_progress=progress)
    return {"index": regions.to_json(found)}


def probe(job: Json, progress: Progress) -> Json:
    """The job itself, after one step of progress: for measuring a start, and for tests."""
    progress(1, 1)
    return {"echo": job}


def _have_no_temporary_folder() -> None:
    """Answer for tempfile, which torch's imports ask for a folder and which fails where it finds none."""
    import tempfile

    tempfile.tempdir = NOWHERE


JOBS: Mapping[str, Job] = {"merge": merge, "index": index, "probe": probe}
ELSEWHERE: Mapping[str, str] = {  # kind → module
    "judge": "stages.core.scoring.work.judge",
    "fit": "stages.core.scoring.work.fit",
    "evaluate": "stages.core.scoring.work.evaluate",
    "quantise": "stages.core.scoring.work.quantise",
    "latency": "stages.core.scoring.work.latency",
    "render": "stages.core.scoring.work.render",
    "survey": "stages.core.weights.basin",
    "interpolate": "stages.core.scoring.interpolation",
}


def find(kind: str) -> Job:
    """The job of that kind; its module is imported now. Raises LabError for an unknown kind."""
    if kind in JOBS:
        return JOBS[kind]
    if kind not in ELSEWHERE:
        raise LabError(f"no job of kind {kind!r} (there are: {', '.join([*JOBS, *ELSEWHERE])})")
    if os.environ.get("TMPDIR") == NOWHERE:
        _have_no_temporary_folder()
    job: Job = import_module(ELSEWHERE[kind]).run
    return job
