"""Everything that is found out while the cases lie open: answers, derived subjects, rounding, costs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stages.conf import Suite
from stages.core.progress import Report, Reports
from stages.core.records.canonical import Json
from stages.core.records.costs import Costs
from stages.core.records.evidence import Subject
from stages.core.records.quantised import SPLIT, Quantised
from stages.eval.answers import Answers, Split, score_all
from stages.eval.baselines import Artifact, Entrant
from stages.eval.costs import costs
from stages.eval.derived import Derived, Family, derived
from stages.eval.rounding import quantised
from stages.eval.stopwatch import times
from stages.eval.store import EvidenceStore
from stages.eval.workers import Workers

NICHE = "niche:"  # how kinds of niche tasks begin


@dataclass(frozen=True)
class Answered:
    """Empty where the family cannot be evaluated. left_out: derived subject → why there is none; times: of
    this machine, for the record.
    """

    entrants: Sequence[Entrant] = ()
    answers: Mapping[str, Answers] = field(default_factory=dict)
    derived: Sequence[Derived] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    quantised: Mapping[str, Quantised] = field(default_factory=dict)
    costs: Mapping[str, Costs] = field(default_factory=dict)
    times: Json = None

    def subjects(self) -> Iterator[tuple[Subject, Answers]]:
        """Everybody with what they answered: base, parents, ensembles, what was derived, candidates."""
        for one in self.entrants:
            if one.subject.kind != "candidate":
                yield one.subject, self.answers[one.subject.id]
        for made in self.derived:
            yield made.subject, made.answers
        for one in self.entrants:
            if one.subject.kind == "candidate":
                yield one.subject, self.answers[one.subject.id]


def answer(
    suite: Suite,
    entrants: Sequence[Entrant],
    splits: Sequence[Split],
    clean: Sequence[str],
    *,
    store: EvidenceStore,
    workers: Workers,
    report: Report,
    others: Reports,
) -> Answered:
    """Put the splits to the entrants, and find out what follows. clean: tasks by which one may fit.
    report: of subjects; others: of what comes after them.

    Raises BadCheckpoint for an artifact that is not what its manifest says; NotIsolated, WorkerFailed.
    """
    answers = score_all(entrants, splits, store, workers, report)
    parents = [one.members[0] for one in entrants if one.subject.kind == "parent"]
    by_name = {split.name: split for split in splits}
    kinds = {name: task.kind for name, task in suite.tasks.items()}
    family = Family(parents, [answers[parent.id] for parent in parents], by_name, kinds, clean)
    made, left_out = derived(family, suite.baselines.cascade_risk)
    niches = [name for name, kind in kinds.items() if kind.startswith(NICHE)]
    widths = suite.baselines.quantised
    said = others("rounded model")
    rounded = quantised(entrants, by_name[SPLIT], niches, widths, store=store, workers=workers, report=said)
    served: list[tuple[Subject, Sequence[Artifact]]] = [(one.subject, one.members) for one in entrants]
    served += [(one.subject, parents) for one in made]
    counted = costs(served, store)
    timed = times(entrants, counted, store, workers, others("timed model"))
    return Answered(entrants, answers, made, left_out, rounded, counted, timed)
