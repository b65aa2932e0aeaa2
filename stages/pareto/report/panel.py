"""What a panel of the report is: one question, answered from the study or named as not measured.

To add one: panels/<name>.py with a `PANEL`, templates/panels/<name>.html.j2 with its body, and a line in
panels/__init__.py. Its code is a pure function of the view; its template writes no number of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from stages.core.records.canonical import Json
from stages.core.records.evidence import TaskEvidence
from stages.core.records.policy import Policy
from stages.core.scoring.intervals import Clusters
from stages.pareto.constraints import Check, reference_of
from stages.pareto.readings import ACCURACY
from stages.pareto.report.layout import Layout
from stages.pareto.results import Results, Row
from stages.pareto.study import NICHE, Study, Task

Group = Literal["Verdict", "What was kept", "Behaviour", "Cost", "How it was found"]
GROUPS: tuple[Group, ...] = ("Verdict", "What was kept", "Behaviour", "Cost", "How it was found")
UNFOLDED: frozenset[Group] = frozenset({"Verdict", "What was kept"})  # the others open when asked
NAMED_RANKS = 3  # merges of the highest mean scores are shown in every panel, above all where rejected
FEW = 12  # merges that a panel shows one under another
SIDE_BY_SIDE = 6  # small charts in a row of which one is compared with the next


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification. words: its text alternative, which says where the same numbers stand.

    title: a line over it, where several stand side by side.
    """

    spec: Json
    words: str
    title: str = ""


@dataclass(frozen=True)
class Shown:
    """A panel with data. values: what its template reads. charts: by name, unique on the page."""

    values: Mapping[str, object] = field(default_factory=dict)
    charts: Mapping[str, Chart] = field(default_factory=dict)


@dataclass(frozen=True)
class Absent:
    """A panel without data. reason: what would have to be there; None where there was nothing to measure."""

    reason: str | None


@dataclass(frozen=True)
class View:
    """What every panel is made from. picture: front.svg."""

    found: Results
    placed: Layout
    picture: str

    @property
    def study(self) -> Study:
        """The inputs."""
        return self.found.trial.study

    @property
    def policy(self) -> Policy:
        """The thresholds."""
        return self.found.trial.policy

    @cached_property
    def focus(self) -> Sequence[Row]:
        """The subjects that panels compare, in the order of the rows.

        All baselines, the recommended subject, every candidate that was kept, and the highest mean scores: a
        merge that was rejected although it scores well is what a reader has to see.
        """

        def wanted(row: Row) -> bool:
            ranked = row.rank is not None and row.rank <= NAMED_RANKS
            return row.outcome is None or row.status == "candidate" or ranked or row.id == self.best_id

        merges = [row for row in self.found.plotted if row.outcome is not None and wanted(row)]
        merges.sort(key=lambda row: (row.id != self.best_id, row.rank or 0))
        chosen = {row.id for row in merges[:FEW]}
        return [row for row in self.found.plotted if row.outcome is None or row.id in chosen]

    @cached_property
    def few(self) -> Sequence[Row]:
        """At most SIDE_BY_SIDE of the focus, for small charts: merges, the best ensemble, the parents."""
        merges = [row for row in self.focus if row.outcome is not None]
        merges.sort(key=lambda row: (row.id != self.best_id, row.rank or 0))
        served = [row for row in self.focus if row.id in (self.found.trial.ensemble, self.best_id)]
        parents = [row for row in self.focus if row.kind == "parent"]
        room = max(1, SIDE_BY_SIDE - len(parents) - len(served))
        chosen = {row.id for row in (*merges[:room], *served, *parents)}
        return [row for row in self.focus if row.id in chosen]

    @property
    def best_id(self) -> str | None:
        """Who is recommended, if anyone."""
        return self.found.answer.subject

    def tasks(self, *kinds: str) -> list[Task]:
        """The tasks of these kinds, in the order of the suite."""
        return [task for task in self.study.tasks if task.kind in kinds]

    def niche_tasks(self) -> list[Task]:
        """The tasks that are some parent's niche."""
        return [task for task in self.study.tasks if task.kind.startswith(NICHE)]

    @property
    def confidence(self) -> float:
        """Level of every interval."""
        return self.policy.confidence

    def clusters(self, task: Task) -> Clusters:
        """The resample of a task that all subjects share."""
        return self.found.trial.measures.clusters[task.name]

    def strata(self, task: Task) -> list[tuple[str, ...]]:
        """Per hidden item, the parts of the task that it belongs to."""
        return [tuple(item.get("strata") or ()) for item in task.items]

    def pairs(self, task: Task) -> list[str | None]:
        """Per hidden item, the label that it shares with its twin."""
        return [item["pair"] for item in task.items]

    def answers(self, subject: str, task: str) -> TaskEvidence:
        """What a subject answered to the hidden cases of a task."""
        return self.study.answers(subject, task)

    def check(self, row: Row, task: Task, quantity: str = ACCURACY, part: str = "") -> Check | None:
        """One judged skill or behaviour of a subject; None where it is not judged."""
        found = (
            one for one in row.checks if (one.task, one.quantity, one.part) == (task.name, quantity, part)
        )
        return next(found, None)

    def reference(self, task: Task) -> str:
        """The parent that a task is compared with."""
        return reference_of(self.study, task, self.policy)


@dataclass(frozen=True)
class Panel:
    """name: its id on the page and its template. title: the heading. short: its name in the navigation."""

    name: str
    title: str
    short: str
    group: Group
    build: Callable[[View], Shown | Absent]
