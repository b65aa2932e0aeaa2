"""The indexes that a byte budget chooses by: remembered, or made now by a worker for each parent.

indexed = indexing.ensure(plan, used, workshop, on_progress)
indexed.trees        parent digest → index, for the merge job
indexed.made         digests of the parents that were gone through for it just now
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.records.canonical import Json
from stages.core.sandbox import launch
from stages.core.weights import budget, regions
from stages.core.weights.plan import Input, Plan
from stages.core.weights.regions import Index
from stages.merge.memory import Memory

if TYPE_CHECKING:
    from stages.merge.build import Parent, Workshop

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Indexed:
    """Every index that a plan needs; none for a plan without a budget. bytes: of the parents gone through."""

    trees: Mapping[str, Json]
    made: tuple[str, ...]
    bytes: int


def ensure(
    plan: Plan, used: "Mapping[str, Parent]", workshop: "Workshop", on_progress: Progress | None = None
) -> Indexed:
    """The index of every parent of a plan with read_bytes; made by one pass for each that is not remembered.

    used: digest → parent, for every input. on_progress: bytes of parents gone through, of all that must be
    and those of the merge that follows. Raises BadCheckpoint, Unmergeable, NotIsolated, WorkerFailed.
    """
    if plan.read_bytes is None:
        return Indexed({}, (), 0)
    base, memory = plan.inputs[0], workshop.memory
    parents = {given.digest: given for given in plan.inputs[1:]}
    trees = {digest: regions.to_json(index) for digest, index in _remembered(plan, memory).items()}
    made = tuple(digest for digest in parents if digest not in trees)
    sizes = {digest: _bytes(parents[digest]) for digest in made}
    total, done = sum(sizes.values()) + merged_bytes(plan), 0
    for digest in made:
        sides = _side(base, used), _side(parents[digest], used)
        trees[digest] = _make(sides, workshop, shifted(on_progress, done, total))
        memory.keep_index(base.digest, digest, regions.from_json(trees[digest]))
        done += sizes[digest]
    return Indexed(trees, made, done)


def foretold(plan: Plan, memory: Memory) -> budget.Choice | None:
    """What a budget will read and skip; None without a budget, or if an index is not remembered."""
    if plan.read_bytes is None:
        return None
    known = _remembered(plan, memory)
    return budget.choose(plan, known) if all(given.digest in known for given in plan.inputs[1:]) else None


def merged_bytes(plan: Plan) -> int:
    """Bytes of all output tensors, in which a merge counts its progress."""
    return sum(job.end - job.start for job in plan.jobs)


def shifted(on_progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of one step among several: `before` bytes were done when it began, of `total`."""
    if on_progress is None:
        return None
    return lambda done, _: on_progress(before + done, total)


def _remembered(plan: Plan, memory: Memory) -> dict[str, Index]:
    """Digest → index of the parents that are known."""
    base, *parents = plan.inputs
    found = {}
    for given in parents:
        index = memory.index(base.digest, given.digest)
        if index is not None and regions.fits(index, given.tensors):
            found[given.digest] = index
    return found


def _bytes(given: Input) -> int:
    return sum(spec.end - spec.start for spec in given.tensors.values())


def _side(given: Input, used: "Mapping[str, Parent]") -> dict[str, Json]:
    """One checkpoint as the job takes it."""
    found = used[given.digest]
    sha256 = {name: record.sha256 for name, record in found.manifest.files.items()}
    return {"role": given.role, "folder": str(found.folder.resolve()), "sha256": sha256}


def _make(
    sides: tuple[dict[str, Json], dict[str, Json]], workshop: "Workshop", on_progress: Progress | None
) -> Json:
    base, parent = sides
    outcome = launch.run(
        {"kind": "index", "base": base, "parent": parent, "threads": workshop.threads},
        readable=[Path(folder) for folder in dict.fromkeys(side["folder"] for side in sides)],
        isolation=workshop.isolation,
        limits=workshop.limits,
        threads=workshop.threads,
        on_progress=on_progress,
    )
    return outcome.result["index"]
