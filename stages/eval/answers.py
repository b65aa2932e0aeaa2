"""Who has answered what: each (subject, split) is scored once, in workers, and kept as soon as known."""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from stages.core.errors import LabError, WorkerFailed
from stages.core.progress import Report
from stages.core.records.canonical import Json
from stages.core.records.evidence import TaskEvidence, answers_of
from stages.core.sandbox import crew
from stages.core.scoring.identity import SCORER
from stages.core.scoring.work import evaluate
from stages.core.scoring.work.evaluate import Asked
from stages.eval.baselines import Entrant
from stages.eval.store import EvidenceStore, evidence_key
from stages.eval.workers import Workers

Answers: TypeAlias = dict[str, dict[str, TaskEvidence]]
"""Split → task → answers of one subject."""


@dataclass(frozen=True)
class Split:
    """One split, ready to be put to subjects. cases: its digest; sizes: task → number of cases."""

    name: str
    cases: str
    sizes: Mapping[str, int]
    folder: Path
    forms: Path
    form_of: Mapping[str, str]


Unit: TypeAlias = Sequence[tuple[Entrant, Sequence[Split]]]
"""What one worker is asked: subjects, each with the splits that it has not answered yet."""


def score_all(
    entrants: Sequence[Entrant],
    splits: Sequence[Split],
    store: EvidenceStore,
    workers: Workers,
    report: Report,
) -> dict[str, Answers]:
    """Subject id → its answers: from the store where they are known, else scored now and kept there at once.

    The answers depend neither on the number of workers nor on how subjects are dealt out to them.
    Raises BadCheckpoint for an artifact that is not what its manifest says; NotIsolated, WorkerFailed.
    """
    results: dict[str, Answers] = {entrant.subject.id: {} for entrant in entrants}
    missing: list[tuple[Entrant, list[Split]]] = []
    for entrant in entrants:
        known = {split.name: store.get(_key(entrant, split, workers.level), split.sizes) for split in splits}
        results[entrant.subject.id] = {
            name: answers for name, answers in known.items() if answers is not None
        }
        if todo := [split for split in splits if known[split.name] is None]:
            missing.append((entrant, todo))
    scored = _Scored(results, store, workers.level, report, len(entrants) - len(missing))
    if scored.done:
        report(scored.done, 0, len(entrants))
    units = workers.dealt(missing, lambda one: [member.folder for member in one[0].members])
    crew.each(units, lambda unit: _ask(unit, workers, scored), workers.at_once, lambda _, __: None)
    order = [split.name for split in splits]
    return {name: {split: answers[split] for split in order} for name, answers in results.items()}


@dataclass
class _Scored:
    """Where the parts of all workers meet: the results, the store and the count, one part at a time."""

    results: dict[str, Answers]
    store: EvidenceStore
    level: str
    report: Report
    done: int
    turn: threading.Lock = field(default_factory=threading.Lock)

    def take(self, entrant: Entrant, todo: Sequence[Split], answers: Answers) -> None:
        """Keep one subject's answers and say so."""
        for split in todo:
            key = _key(entrant, split, self.level)
            self.store.put(key, entrant.subject.artifact, SCORER, answers[split.name])
        with self.turn:
            self.results[entrant.subject.id] |= answers
            self.done += 1
            self.report(self.done, 0, len(self.results))


def _ask(unit: Unit, workers: Workers, scored: _Scored) -> None:
    """Put one unit to one worker."""
    waiting = {entrant.subject.id: (entrant, todo) for entrant, todo in unit}
    splits = {split.name: split for _, todo in unit for split in todo}
    first = next(iter(splits.values()))
    asked = [
        Asked(
            entrant.subject.id,
            [(member.folder, member.digest) for member in entrant.members],
            entrant.weights,
            [split.name for split in todo],
            entrant.rule,
        )
        for entrant, todo in unit
    ]
    folders = {name: split.folder for name, split in splits.items()}

    def on_part(part: Json) -> None:
        name = part.get("subject") if isinstance(part, dict) else None
        if not isinstance(name, str) or name not in waiting:
            raise WorkerFailed(f"the evaluate worker answered for {str(name)[:40]!r}, which nobody asked.")
        entrant, todo = waiting.pop(name)
        scored.take(entrant, todo, _checked(part.get("answers"), todo))

    workers.run(
        evaluate.request(asked, folders, first.form_of, first.forms),
        readable=[*folders.values(), first.forms, *(folder for one in asked for folder, _ in one.members)],
        subjects=len(unit),
        on_part=on_part,
    )
    if waiting:
        raise WorkerFailed(f"the evaluate worker left out {', '.join(waiting)}. Run it again.")


def _checked(tree: Json, todo: Sequence[Split]) -> Answers:
    """The answers of a part, to every case of the splits asked and to nothing else. Raises WorkerFailed."""
    try:
        found = {split: answers_of(tasks, "an answer") for split, tasks in tree.items()}
        sizes = {
            split: {task: len(answers.correct) for task, answers in tasks.items()}
            for split, tasks in found.items()
        }
        finite = all(
            math.isfinite(nats)
            for tasks in found.values()
            for answers in tasks.values()
            for nats in (*answers.loglikelihood, *answers.answer_tokens)
        )
    except (LabError, KeyError, TypeError, AttributeError) as problem:
        raise WorkerFailed(f"the evaluate worker gave no answers: {problem!r}. Run it again.") from problem
    if not finite or sizes != {split.name: dict(split.sizes) for split in todo}:
        raise WorkerFailed("the evaluate worker answered other cases than it was asked, or not with numbers.")
    return found


def _key(entrant: Entrant, split: Split, level: str) -> str:
    return evidence_key(entrant.subject.artifact, split.cases, SCORER, level)
