"""A byte budget for the parents: which regions are read, and how far the result can be from the full merge.

With `read_bytes` in its recipe a merge reads at most so many bytes of the parents' tensors. The base is read
whole, and so are headers. Regions (regions.py) are read in the order of what they are worth, squared norm of
the delta times squared gain of the parent for each byte, until the next one no longer fits; where a region is
left unread, the parent counts as equal to the base.

Reading stops there, though a smaller region might still fit: so a larger budget reads all that a smaller one
reads, its bound is never larger, and less than one region of the budget is left over.

The bound is on the merged delta before it is rounded: ||full - budgeted|| in L2 over all tensors is at most
the sum, over parents, of sqrt(sum of gain^2 * squared norm, over the regions left unread). The roundings
to float32 and to the output type come on top, in both merges. Source: MergePipe, arXiv 2602.13273.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.core.errors import LabError, Unmergeable
from stages.core.records.canonical import Json, from_hex, hex_float
from stages.core.weights import regions
from stages.core.weights.numerics import REGION
from stages.core.weights.reader import TensorSpec
from stages.core.weights.regions import Index
from stages.core.weights.registry import LINES

if TYPE_CHECKING:
    from stages.core.weights.plan import Job, Plan


@dataclass(frozen=True)
class Choice:
    """What a budget reads. limit, read, held: bytes allowed, read, and held by the parents' tensors in all.

    regions: (place in the plan's inputs, tensor) → whether each region is read. indexes: by place. bound: on
    the distance from the full merge; whole: the same if nothing were read.
    """

    limit: int
    read: int
    held: int
    regions: Mapping[tuple[int, str], tuple[bool, ...]]
    indexes: Mapping[int, Index]
    bound: float
    whole: float

    def to_json(self, plan: "Plan") -> Json:
        """What the lineage says."""
        return {
            "read_bytes": self.limit,
            "bytes_read": self.read,
            "bytes_held": self.held,
            "region_elements": REGION,
            **self._counted(list(self.indexes)),
            "bound": hex_float(self.bound),
            "bound_if_nothing_is_read": hex_float(self.whole),
            "parents": [
                {
                    "role": plan.inputs[place].role,
                    "digest": plan.inputs[place].digest,
                    "index_sha256": regions.digest(index),
                    **self._counted([place]),
                }
                for place, index in self.indexes.items()
            ],
        }

    def text(self) -> str:
        """One line for people."""
        counted = self._counted(list(self.indexes))
        share = self.bound / self.whole if self.whole else 0.0
        return (
            f"reads {self.read} of {self.held} bytes of the parents, skips {counted['regions_skipped']} of "
            f"{counted['regions']} regions; at most {self.bound:.4g} in L2 from the full merge, {share:.2%} "
            "of the bound for reading nothing"
        )

    def _counted(self, places: list[int]) -> dict[str, int]:
        read = [one for (place, _), found in self.regions.items() if place in places for one in found]
        return {"regions": len(read), "regions_skipped": read.count(False)}


@dataclass(frozen=True)
class _Region:
    """One that may be left unread. worth: squared gain times squared norm. order: decides among equals."""

    place: int
    name: str
    number: int
    bytes: int
    worth: float
    order: tuple[int, int, int]


def told(record: Json) -> str:
    """What was left unread, for a card: from what `Choice.to_json` made."""
    return (
        f"{record['regions_skipped']} of {record['regions']} regions of the parents; at most "
        f"{from_hex(record['bound']):.4g} in L2 from the merge that reads everything, before rounding"
    )


def check(plan: "Plan") -> None:
    """Raises Unmergeable for types that differ between base and parents, and for a budget under the least."""
    if plan.read_bytes is None:
        return
    specs = {
        job.name: [(plan.inputs[place].role, plan.inputs[place].tensors[name]) for place, name in job.reads]
        for job in plan.jobs
        if job.action == "merge"
    }
    wrong = [
        f"{name}: {', '.join(f'{role} {spec.dtype}' for role, spec in found)}"
        for name, found in specs.items()
        if len({spec.dtype for _, spec in found}) > 1
    ]
    if wrong:
        listed = "".join(f"\n  {line}" for line in wrong)
        raise Unmergeable(
            f"where a budget leaves a parent unread, the base stands in, so both need one type:{listed}\n"
            "Convert them to one type, or leave read_bytes out."
        )
    if plan.read_bytes < (least := least_bytes(plan)):
        raise Unmergeable(
            f"read_bytes: integer tensors are read whole, {least} bytes of the parents: expected at least "
            f"{least}, got {plan.read_bytes}. Raise it to {least} or more"
        )


def describe(plan: "Plan") -> Json:
    """What headers alone tell: the budget, what integer tensors take of it, and what the parents hold."""
    return {
        "read_bytes": plan.read_bytes,
        "least_bytes": least_bytes(plan),
        "bytes_held": held_bytes(plan),
        "region_elements": REGION,
    }


def foretold(plan: "Plan", choice: Choice | None) -> list[str]:
    """Lines for people before a merge; none without a budget. choice: None if some index is not known yet."""
    if plan.read_bytes is None:
        return []
    if choice is not None:
        return [f"  budget  {choice.text()}"]
    held = held_bytes(plan)
    return [
        f"  budget  reads at most {min(plan.read_bytes, held)} of {held} bytes of the parents",
        f"  index   not known here for all parents: made first, by reading up to {index_bytes(plan)} bytes",
    ]


def held_bytes(plan: "Plan") -> int:
    """Bytes of all tensors of the parents."""
    return sum(_bytes(spec) for _, spec in _read(plan, ("copy", "merge")))


def least_bytes(plan: "Plan") -> int:
    """Bytes that no budget leaves unread: integer tensors, which must be equal in all parents."""
    return sum(_bytes(spec) for _, spec in _read(plan, ("copy",)))


def index_bytes(plan: "Plan") -> int:
    """Bytes read to index every parent, each in its own pass with the base; 0 without a budget."""
    if plan.read_bytes is None:
        return 0
    base, *parents = plan.inputs
    files = {given.digest: sum(file.bytes for file in given.files.values()) for given in plan.inputs}
    return sum(files[base.digest] + files[digest] for digest in dict.fromkeys(one.digest for one in parents))


def input_bytes(plan: "Plan") -> int:
    """Bytes of input files that a merge reads at most: with a budget the base, headers, and the budget."""
    if plan.read_bytes is None:
        return sum(file.bytes for given in plan.inputs for file in given.files.values())
    base, *parents = plan.inputs
    heads = sum(file.head_bytes for given in parents for file in given.files.values())
    return sum(file.bytes for file in base.files.values()) + heads + min(plan.read_bytes, held_bytes(plan))


def choose(plan: "Plan", indexes: Mapping[str, Index]) -> Choice:
    """The regions that the plan's budget reads. indexes: parent digest → its index against the base.

    A function of the plan and the indexes alone, and so of the recipe and the bytes of base and parents.
    Raises LabError for a plan without a budget, and for an index that is missing or not of these tensors.
    """
    if plan.read_bytes is None:
        raise LabError("this recipe has no read_bytes: there is nothing to choose")
    known = _indexes(plan, indexes)
    chosen = {
        (place, job.name): [True] * regions.count(job.elements)
        for job in plan.jobs
        for place, _ in plan.reads_of_parents(job)
    }
    left, unread, saved = plan.read_bytes - least_bytes(plan), False, 0
    skipped: dict[int, list[float]] = {place: [] for place in known}
    everything: dict[int, list[float]] = {place: [] for place in known}
    ordered = sorted(_regions(plan, known), key=lambda one: (-one.worth / one.bytes, one.order))
    for one in ordered:
        everything[one.place].append(one.worth)
        unread = unread or one.bytes > left
        if unread:
            chosen[one.place, one.name][one.number] = False
            saved += one.bytes
            skipped[one.place].append(one.worth)
        else:
            left -= one.bytes
    return Choice(
        limit=plan.read_bytes,
        read=held_bytes(plan) - saved,
        held=held_bytes(plan),
        regions={key: tuple(found) for key, found in chosen.items()},
        indexes=known,
        bound=_bound(skipped),
        whole=_bound(everything),
    )


def _bound(worth: Mapping[int, list[float]]) -> float:
    """Sum over parents of the square root of the worth of regions; fsum, so that their order counts not."""
    return math.fsum(math.sqrt(math.fsum(found)) for found in worth.values())


def _indexes(plan: "Plan", indexes: Mapping[str, Index]) -> dict[int, Index]:
    found = {}
    for place, given in enumerate(plan.inputs[1:], start=1):
        index = indexes.get(given.digest)
        if index is None or not regions.fits(index, given.tensors):
            raise LabError(f"{given.role} has no index of its {len(given.tensors)} tensors against the base")
        found[place] = index
    return found


def _regions(plan: "Plan", indexes: Mapping[int, Index]) -> Iterator[_Region]:
    """Every region of the parents that may be left unread."""
    for number, job in enumerate(plan.jobs):
        if job.action != "merge":
            continue
        for (place, name), gain in zip(plan.reads_of_parents(job), _gains(plan, job), strict=True):
            spans = regions.spans(plan.inputs[place].tensors[name])
            for region, ((start, end), square) in enumerate(
                zip(spans, indexes[place][name].squares, strict=True)
            ):
                yield _Region(place, name, region, end - start, gain * gain * square, (place, number, region))


def _gains(plan: "Plan", job: "Job") -> tuple[float, ...]:
    """The method's gains in one tensor, times the factor of `lines` there."""
    if plan.method.gain is None:
        raise LabError(f"{plan.method.name} declares no gain: the registry lets no budget through for it")
    factor = job.coefficients.get(LINES)
    scale = abs(factor) if isinstance(factor, float) else 1.0
    return tuple(scale * gain for gain in plan.method.gain(job.coefficients))


def _read(plan: "Plan", actions: tuple[str, ...]) -> Iterator[tuple[int, TensorSpec]]:
    """Every tensor of a parent that jobs of these actions read, with its place."""
    for job in plan.jobs:
        if job.action in actions:
            for place, name in plan.reads_of_parents(job):
                yield place, plan.inputs[place].tensors[name]


def _bytes(spec: TensorSpec) -> int:
    return spec.end - spec.start
