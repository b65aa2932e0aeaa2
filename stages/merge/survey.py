"""What a search would cost, from headers alone: what `mergelab plan` prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.conf import Request
from stages.core.errors import LabError
from stages.core.records import manifest as manifests
from stages.core.records.files import sha256_bytes
from stages.core.records.lineage import Proposal
from stages.core.records.recipe import Recipe
from stages.core.records.source import LocalPath, Repository
from stages.core.weights import plan as plans
from stages.core.weights.plan import Plan
from stages.merge.propose import Family, propose
from stages.merge.stage import dtype_of, spaces
from stages.merge.workshop import PARENTS

WORKER_SECONDS = 2.0  # of a locked interpreter with torch: 24 rebuilds of the shipped candidates took 47 s
SECONDS_PER_BYTE = 6e-9  # read, hash, merge and write, per byte moved, on one core: TIES, the slowest


@dataclass(frozen=True)
class Survey:
    """A planned search: each proposal with its plan. Sizes in bytes, time in seconds."""

    proposals: Sequence[tuple[Recipe, Proposal, Plan]]
    workers: int

    @property
    def bytes_read(self) -> int:
        """Bytes all workers read together."""
        return sum(plan.bytes_read for _, _, plan in self.proposals)

    @property
    def bytes_written(self) -> int:
        """Bytes of all candidates together: the disk the search needs."""
        return sum(plan.bytes_written for _, _, plan in self.proposals)

    @property
    def peak_bytes(self) -> int:
        """Memory of the workers that run at once."""
        return self.workers * max((plan.peak_bytes for _, _, plan in self.proposals), default=0)

    @property
    def seconds(self) -> float:
        """Rough wall time of the merges: worker starts and bytes moved, spread over the workers."""
        work = (
            len(self.proposals) * WORKER_SECONDS + (self.bytes_read + self.bytes_written) * SECONDS_PER_BYTE
        )
        return work / self.workers


def survey(root: Path, request: Request) -> Survey:
    """Plan every proposal of `request` without reading a weight.

    Headers are read at the source, an adapter's at its base. Parents that were not acquired yet give
    candidates provisional ids. Raises LabError for a parent that lies elsewhere and was not acquired.
    """
    folders = {name: _headers(root, request, name) for name in request.parents.members}
    digests = {name: _digest(root / PARENTS / name, name) for name in folders}
    base, merge = request.parents.base, request.parents.merge
    family = Family(
        digests[base], tuple(digests[name] for name in merge), dtype_of(folders[base]), request.seed
    )
    sources = {digests[name]: folder for name, folder in folders.items()}
    found = propose(spaces(request), family, request.budget.candidates)
    return Survey(
        [(recipe, why, plans.plan(recipe, sources)) for recipe, why in found], request.executor.workers
    )


def _headers(root: Path, request: Request, name: str) -> Path:
    """A folder whose headers are those that the parent has, or will have."""
    member = request.parents.members[name]
    if member.adapter_on:
        return _headers(root, request, member.adapter_on)
    if isinstance(member.source, Repository | LocalPath):
        return root / Path(member.source.path).expanduser()
    if not (root / PARENTS / name / manifests.NAME).is_file():
        raise LabError(f"{name} lies elsewhere and was not acquired yet. Run `dvc repro parents`.")
    return root / PARENTS / name


def _digest(acquired: Path, name: str) -> str:
    """The manifest digest of an acquired parent, else one that stands for it."""
    if (acquired / manifests.NAME).is_file():
        return manifests.load(acquired).digest
    return sha256_bytes(name.encode())
