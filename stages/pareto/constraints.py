"""What a merge may not lose: every constrained skill and behaviour, compared with a reference item by item.

The tests of a loss are one family, over everybody who is judged and everything the policy sets a margin for:
Holm's adjustment keeps the chance of a single false "lost" in the whole study at the policy's one-sided level
(docs/decisions/0020). What was kept is no family: each check is one of several that must all hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from stages.core.errors import LabError
from stages.core.records.policy import Constraint, Margin, OwnMargin, Policy
from stages.core.scoring.metrics.strata import value_of
from stages.core.scoring.multiplicity import holm
from stages.core.scoring.paired import Paired, is_non_inferior
from stages.pareto.measure import Measures
from stages.pareto.readings import (
    ACCURACY,
    QUANTITIES,
    Bench,
    Drop,
    Quantity,
    Reading,
    compare,
    lost_places,
)
from stages.pareto.study import KIND_NAMES, NICHE, Study, Task

State: TypeAlias = Literal["kept", "unproven", "lost", "measured"]
ITSELF = "itself"  # the reference of what is compared with the subject's own twin or unrounded answers
PARTS: Mapping[str, str] = {"refusal": "asks"}  # kind → stratum whose values are checked each by itself
WORST: Sequence[State] = ("lost", "unproven", "kept", "measured")


@dataclass(frozen=True)
class Check:
    """One skill or behaviour of one subject against its reference.

    state: `lost` (more than the margin is missing, and not by chance among all the tests of the study),
    `kept` (the interval excludes a loss beyond the margin), `unproven` (neither was shown), `measured` (the
    policy sets no margin, or the task was seen in training). quantity: `accuracy`, or a name of
    policy.behaviour (readings.QUANTITIES). part: the stratum that it is about, or empty. reference: a parent,
    or ITSELF. value, reference_value: accuracies, or mean losses of any other quantity. paired: below zero is
    a loss. adjusted_p: of paired.loss_p within its family; None outside of it. detectable: smallest true loss
    that would be shown four times in five, at the strictest level of its family. kept_p: one-sided p of a
    loss beyond the margin; None without one. lost: places of the items (of pairs, the first) that the
    reference got right and the subject did not.
    """

    subject: str
    task: str
    kind: str
    quantity: str
    part: str
    state: State
    margin: float | None
    reference: str
    value: float
    reference_value: float
    paired: Paired
    adjusted_p: float | None
    detectable: float
    kept_p: float | None
    lost: tuple[int, ...]

    def rejects(self, policy: Policy) -> bool:
        """Whether this check alone rejects a merge under the policy's burden of proof."""
        return self.state == "lost" or (self.state == "unproven" and policy.reject == "unproven")

    @property
    def skill(self) -> str:
        """The kind in words, with the task's name where that says more: 'rare skill upper', 'refusal'.

        After a comma the part or the quantity that it is about: 'refusal, asks=disallowed'.
        """
        kind = KIND_NAMES.get(self.kind, self.kind)
        named = kind if kind == self.task else f"{kind} {self.task}"
        about = self.part or ("" if self.quantity == ACCURACY else self.quantity)
        return f"{named}, {about}" if about else named


def checks(study: Study, measures: Measures, names: Sequence[str], policy: Policy) -> dict[str, list[Check]]:
    """Every check of each subject, in the order of the suite; accuracy on niches is an objective, not
    checked.

    Raises LabError where the policy sets a margin for what a task of that kind does not measure.
    """
    bench = Bench(study, measures.clusters)
    _refuse_missing(bench, names, policy)
    bar = _Bar(bench, policy)
    drafts = {name: list(bar.drafts(name)) for name in names}
    family = {
        (name, place): one.paired.loss_p
        for name, found in drafts.items()
        for place, one in enumerate(found)
        if one.margin is not None
    }
    adjusted = holm(family)
    strictest = policy.level / max(1, len(family))
    return {
        name: [
            _settled(one, adjusted.get((name, place)), strictest, policy) for place, one in enumerate(found)
        ]
        for name, found in drafts.items()
    }


def reference_of(study: Study, task: Task, policy: Policy) -> str:
    """The parent compared with: a niche's own, else as the policy says; of equals the first."""
    if task.kind.startswith(NICHE) and task.parent:
        return task.parent
    rule = policy.constraints.of(task.kind)
    parents: Sequence[str] = study.experiment.parents
    pick = max if rule and rule.against == "better" else min
    return pick(parents, key=lambda parent: study.answers(parent, task.name).accuracy)


def worst_state(found: Sequence[Check], task: str) -> State | None:
    """The gravest state among the checks of one task; None without any."""
    states = {one.state for one in found if one.task == task}
    return next((state for state in WORST if state in states), None)


@dataclass(frozen=True)
class _Bar:
    """Makes the checks before the others are known: p-values are raw, states open."""

    bench: Bench
    policy: Policy

    def drafts(self, name: str) -> Iterator[Check]:
        """Every check of one subject."""
        for task in self.bench.study.tasks:
            clean = task.name not in self.bench.study.contaminated
            if not task.kind.startswith(NICHE) and task.kind != "perplexity":
                rule = self.policy.constraints.of(task.kind) if clean else None
                for part, places in _parts(task):
                    yield self.accuracy(_Draft(name, task, ACCURACY, part), places, rule)
            for quantity in _quantities(task):
                margin = self.policy.behaviour.of(quantity.name) if clean else None
                found = self.behaviour(_Draft(name, task, quantity.name), quantity, margin)
                if found is not None:
                    yield found

    def accuracy(self, about: "_Draft", places: Sequence[int] | None, rule: Constraint | None) -> Check:
        """Right and wrong on one part of a task, against the parent that is better or worse on that part."""
        parents = {
            one: self.bench.accuracy(one, about.task, places) for one in self.bench.study.experiment.parents
        }
        reference = _reference(parents, better=rule is not None and rule.against == "better")
        mine, theirs = self.bench.accuracy(about.subject, about.task, places), parents[reference]
        return about.check(
            (reference, rule.margin if rule else None),
            (1 - mine.value, 1 - theirs.value),
            compare(mine, theirs, self.policy.confidence),
            lost_places(mine, theirs),
        )

    def behaviour(
        self, about: "_Draft", quantity: Quantity, margin: Margin | OwnMargin | None
    ) -> Check | None:
        """One quantity on one task; None where the subject, or its reference, has no reading of it."""
        mine = quantity.read(self.bench, about.subject, about.task)
        if quantity.own is not None:
            reference, theirs = ITSELF, quantity.own(self.bench, about.subject, about.task)
        else:
            parents = {
                one: reading
                for one in self.bench.study.experiment.parents
                if (reading := quantity.read(self.bench, one, about.task)) is not None
            }
            if not parents:
                return None
            reference = _reference(parents, better=isinstance(margin, Margin) and margin.against == "better")
            theirs = parents[reference]
        if mine is None or theirs is None:
            return None
        return about.check(
            (reference, margin.margin if margin else None),
            (mine.value, theirs.value),
            compare(mine, theirs, self.policy.confidence),
            lost_places(mine, theirs),
        )


@dataclass(frozen=True)
class _Draft:
    """What a check is about."""

    subject: str
    task: Task
    quantity: str
    part: str = ""

    def check(
        self,
        rule: tuple[str, float | None],
        values: tuple[float, float],
        paired: Paired,
        lost: tuple[int, ...],
    ) -> Check:
        """The check, still `measured`. rule: reference and margin; values: the subject's, the reference's."""
        reference, margin = rule
        return Check(
            subject=self.subject,
            task=self.task.name,
            kind=self.task.kind,
            quantity=self.quantity,
            part=self.part,
            state="measured",
            margin=margin,
            reference=reference,
            value=values[0],
            reference_value=values[1],
            paired=paired,
            adjusted_p=None,
            detectable=0.0,
            kept_p=None if margin is None else paired.kept_p(margin),
            lost=lost,
        )


def _quantities(task: Task) -> Iterator[Quantity]:
    return (one for one in QUANTITIES if one.concerns(task))


def _parts(task: Task) -> list[tuple[str, list[int] | None]]:
    """(part, its places) for each value of the stratum by which the kind is told apart, else the whole."""
    stratum = PARTS.get(task.kind)
    values = [value_of(item.get("strata") or (), stratum) if stratum else None for item in task.items]
    named = sorted({value for value in values if value is not None})
    if not named or None in values:
        return [("", None)]
    return [
        (f"{stratum}={name}", [place for place, value in enumerate(values) if value == name])
        for name in named
    ]


def _reference(readings: Mapping[str, Reading | Drop], *, better: bool) -> str:
    """Who loses least, or most; of equals the first."""
    pick = min if better else max
    return pick(readings, key=lambda name: readings[name].value)


def _settled(one: Check, adjusted_p: float | None, strictest: float, policy: Policy) -> Check:
    """The check with its state, now that the family is known."""
    if one.margin is None or adjusted_p is None:
        return replace(one, detectable=one.paired.detectable(policy.level))
    state: State = "kept" if is_non_inferior(one.paired.interval, one.margin) else "unproven"
    if one.paired.difference < -one.margin and adjusted_p <= policy.level:
        state = "lost"
    return replace(one, state=state, adjusted_p=adjusted_p, detectable=one.paired.detectable(strictest))


def _refuse_missing(bench: Bench, names: Sequence[str], policy: Policy) -> None:
    """Raises LabError naming every task that does not measure what the policy holds it to."""
    problems = []
    for task in bench.study.tasks:
        for quantity in _quantities(task):
            if policy.behaviour.of(quantity.name) is None or task.name in bench.study.contaminated:
                continue
            if quantity.kinds is None and not _niche_or_rounded(bench, task, quantity):
                continue
            asked = [*names, *(() if quantity.own else bench.study.experiment.parents)]
            if any(quantity.read(bench, name, task) is None for name in asked):
                problems.append(
                    f"policy.behaviour.{quantity.name} sets a margin, and task {task.name!r} does not "
                    f"measure it: it needs {quantity.needs}. Change the task in conf/suite, or set the "
                    "margin to null in conf/policy."
                )
    if problems:
        raise LabError("\n".join(problems))


def _niche_or_rounded(bench: Bench, task: Task, quantity: Quantity) -> bool:
    """Whether a task is one that rounding is judged by: the niches, and what anybody was rounded on."""
    rounded = any(
        quantity.name in one.answers and task.name in one.answers[quantity.name]
        for one in bench.study.quantised.values()
    )
    return task.kind.startswith(NICHE) or rounded
