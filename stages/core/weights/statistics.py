"""What a method may ask about a whole tensor before its first block is merged.

Each statistic depends on the parents, the base and one argument, never on weights or scales: what one merge
has measured, others over the same parents need not measure again (`Known`).

kept_magnitude: `threshold` and `cut` per parent (selection.py) for the share options[argument].
dots: `dots`, the upper triangle of the parents' float64 dot products, row by row.
masked_l1: `l1` and `masked_l1` per parent, sums of |x| over all and over the kept elements.
l1, squares: `l1` or `squares` per parent, sums of |x| or of x^2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from stages.core.errors import LabError
from stages.core.weights.method import Need, Options, Statistics, per_parent
from stages.core.weights.numerics import NUMERICS, drop_count
from stages.core.weights.plan import Job, Plan

if TYPE_CHECKING:  # their module imports numpy, which a process that only asks for names can do without
    from stages.core.weights.backend import Backend, Source

Facts: TypeAlias = Mapping[str, Mapping[str, Sequence[float]]]  # subject -> tensor and argument -> values


@dataclass
class Known:
    """Statistics by subject (whose they are) and by tensor and argument.

    given: from earlier merges over the same digests. found: what this merge had to measure itself.
    """

    given: Facts = field(default_factory=dict)
    found: dict[str, dict[str, tuple[float, ...]]] = field(default_factory=dict)

    def gather(self, source: "Source", backend: "Backend") -> Statistics:
        """The values of every statistic that the method needs of one tensor, in the order of its needs."""
        seen: dict[str, tuple[float, ...]] = {}
        for need in source.plan.method.needed(source.job.options):
            values = self._recall(need, source.plan, source.job)
            if values is None:
                values = backend.measure(need, source, dict(seen))
                self._keep(need, source, values)
            seen.update({need.label + name: found for name, found in values.items()})
        return seen

    def knows(self, plan: Plan, job: Job) -> bool:
        """Whether nothing has to be measured of that tensor."""
        return all(self._recall(need, plan, job) is not None for need in plan.method.needed(job.options))

    def _recall(self, need: Need, plan: Plan, job: Job) -> Statistics | None:
        entries = _entries(need, plan, job)
        rows = [self.given.get(subject, {}).get(entry) for subject, entry in entries]
        known = [tuple(row) for row in rows if row is not None]
        if not known or len(known) < len(rows):
            return None
        return {"dots": known[0]} if need.statistic == "dots" else _by_name(need, known)

    def _keep(self, need: Need, source: "Source", values: Statistics) -> None:
        rows = [values["dots"]] if need.statistic == "dots" else list(zip(*values.values(), strict=True))
        entries = _entries(need, source.plan, source.job)
        for (subject, entry), row in zip(entries, rows, strict=need.of is None):
            self.found.setdefault(subject, {})[entry] = row


def _by_name(need: Need, rows: Sequence[tuple[float, ...]]) -> Statistics:
    """The values of one parent in each row, as the values of all parents under each name."""
    return dict(zip(_NAMES[need.statistic], zip(*rows, strict=True), strict=True))


_NAMES = {
    "kept_magnitude": ("threshold", "cut"),
    "masked_l1": ("l1", "masked_l1"),
    "l1": ("l1",),
    "squares": ("squares",),
}


def wanted(plan: Plan) -> dict[str, list[str]]:
    """Subject -> the entries that a merge by this plan will ask for."""
    found: dict[str, list[str]] = {}
    for job in plan.jobs:
        if job.action == "merge" and job.elements:
            for need in plan.method.needed(job.options):
                for subject, entry in _entries(need, plan, job):
                    found.setdefault(subject, []).append(entry)
    return found


def _entries(need: Need, plan: Plan, job: Job) -> list[tuple[str, str]]:
    """Under which subjects and entries the values of a need are kept, one for each parent.

    None for a statistic of the method's own making. Dot products are those of all parents together.
    """
    if need.of is not None:
        return []
    recipe, parents = plan.recipe, plan.parents_of(job)
    space = recipe.base if plan.method.space == "delta" else "weights"
    if need.statistic == "dots":
        subject = "|".join(["dots", str(NUMERICS), str(space), *(digest for digest, _ in parents)])
        return [(subject, " ".join(name for _, name in parents))]
    if need.statistic == "masked_l1":
        drops = shares(need, job.options, len(parents))
        arguments = [f"{recipe.seed} {drop_count(drop)}" for drop in drops]
    elif need.statistic == "kept_magnitude":
        arguments = [str(keep) for keep in keeps(need, job.options, len(parents), job.elements)]
    else:
        arguments = [""] * len(parents)
    return [
        (f"{need.statistic}|{NUMERICS}|{space}|{digest}", f"{name} {argument}".rstrip())
        for (digest, name), argument in zip(parents, arguments, strict=True)
    ]


def shares(need: Need, options: Options, parents: int) -> tuple[float, ...]:
    """The argument of a need, one number for each parent."""
    if need.argument is None:
        raise LabError(f"statistic {need.statistic} needs an argument")
    return per_parent(options, need.argument, parents)


def keeps(need: Need, options: Options, parents: int, elements: int) -> list[int]:
    """How many of the greatest of so many elements a kept_magnitude asks for, of each tensor it looks at."""
    count = parents if need.of is None else 1
    if need.count is not None:
        return list(need.count(options, elements))
    return [kept_count(share, elements) for share in shares(need, options, count)]


def kept_count(density: float, elements: int) -> int:
    """How many elements a density keeps: density * elements in float64, rounded down, and at least one."""
    return max(1, int(density * elements))
