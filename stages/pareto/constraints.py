"""What a merge may not lose: every constrained skill, compared with a parent item by item."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.core.records.policy import Constraint, Policy
from stages.core.scoring.paired import Paired, is_non_inferior, paired_difference
from stages.pareto.measure import Measures
from stages.pareto.study import KIND_NAMES, NICHE, Study, Task


@dataclass(frozen=True)
class Check:
    """One skill of one subject against its reference parent.

    state: `lost` (more than the margin is missing, and not by chance), `kept` (the interval excludes a loss
    beyond the margin), `unproven` (neither was shown), `measured` (the policy sets no margin, or the task was
    seen in training).
    """

    subject: str
    task: str
    kind: str
    state: Literal["kept", "unproven", "lost", "measured"]
    margin: float | None
    reference: str
    accuracy: float
    reference_accuracy: float
    paired: Paired

    def rejects(self, policy: Policy) -> bool:
        """Whether this check alone rejects a merge under the policy's burden of proof."""
        return self.state == "lost" or (self.state == "unproven" and policy.reject == "unproven")

    @property
    def skill(self) -> str:
        """The kind in words, with the task's name where that says more: 'rare skill upper', 'refusal'."""
        kind = KIND_NAMES.get(self.kind, self.kind)
        return kind if kind == self.task else f"{kind} {self.task}"


def check(study: Study, measures: Measures, name: str, policy: Policy) -> list[Check]:
    """Every check of one subject, in the order of the suite; niches are objectives and are not checked."""
    return [
        _compare(study, measures, name, task, policy)
        for task in study.tasks
        if not task.kind.startswith(NICHE)
    ]


def _compare(study: Study, measures: Measures, name: str, task: Task, policy: Policy) -> Check:
    rule = None if task.name in study.contaminated else policy.constraints.of(task.kind)
    reference = reference_of(study, task, policy)
    mine, theirs = study.answers(name, task.name), study.answers(reference, task.name)
    paired = paired_difference(mine.correct, theirs.correct, measures.clusters[task.name], policy.confidence)
    return Check(
        name,
        task.name,
        task.kind,
        _state(rule, paired, policy.confidence),
        rule.margin if rule else None,
        reference,
        mine.accuracy,
        theirs.accuracy,
        paired,
    )


def reference_of(study: Study, task: Task, policy: Policy) -> str:
    """The parent compared with: a niche's own, else as the policy says; of equals the first."""
    if task.kind.startswith(NICHE) and task.parent:
        return task.parent
    rule = policy.constraints.of(task.kind)
    parents: Sequence[str] = study.experiment.parents
    pick = max if rule and rule.against == "better" else min
    return pick(parents, key=lambda parent: study.answers(parent, task.name).accuracy)


def _state(
    rule: Constraint | None, paired: Paired, confidence: float
) -> Literal["kept", "unproven", "lost", "measured"]:
    if rule is None:
        return "measured"
    if paired.difference < -rule.margin and paired.loss_p <= (1 - confidence) / 2:
        return "lost"
    return "kept" if is_non_inferior(paired.interval, rule.margin) else "unproven"
