"""Who has answered what: each (subject, split) is scored once, by resident evaluators, one per thread."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from stages.core.progress import Report
from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.harness import SCORER, Harness, Scorer
from stages.core.scoring.model import architecture_of
from stages.core.weights.reader import Checkpoint
from stages.eval.baselines import Entrant
from stages.eval.store import EvidenceStore, evidence_key

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

    @cached_property
    def harness(self) -> Harness:
        """Its lm-eval requests, rendered on first use."""
        return Harness(self.folder, self.forms, self.form_of)


def score_all(
    entrants: Sequence[Entrant], splits: Sequence[Split], store: EvidenceStore, workers: int, report: Report
) -> dict[str, Answers]:
    """Subject id → its answers: from the store where they are known, else scored now and kept there at once.

    `workers` threads, each with its own models; the answers do not depend on how many.
    Raises BadCheckpoint for an artifact that is not what its manifest says.
    """
    results: dict[str, Answers] = {entrant.subject.id: {} for entrant in entrants}
    missing: list[tuple[Entrant, list[Split]]] = []
    for entrant in entrants:
        known = {split.name: store.get(_key(entrant, split), split.sizes) for split in splits}
        results[entrant.subject.id] = {
            name: answers for name, answers in known.items() if answers is not None
        }
        if todo := [split for split in splits if known[split.name] is None]:
            missing.append((entrant, todo))
    for split in {split.name: split for _, todo in missing for split in todo}.values():
        _ = split.harness  # rendered here, because lm-eval's rendering is no work for threads
    done = len(entrants) - len(missing)
    if done:
        report(done, 0, len(entrants))
    for subject, found in _scored(missing, store, workers):
        results[subject] |= found
        done += 1
        report(done, 0, len(entrants))
    order = [split.name for split in splits]
    return {name: {split: answers[split] for split in order} for name, answers in results.items()}


def _scored(
    missing: Sequence[tuple[Entrant, Sequence[Split]]], store: EvidenceStore, workers: int
) -> Iterator[tuple[str, Answers]]:
    """(subject id, answers to the splits it lacked), as each is finished; kept in the store first."""
    local = threading.local()

    def work(entrant: Entrant, todo: Sequence[Split]) -> tuple[str, Answers]:
        members = [Checkpoint(member.verified()) for member in entrant.members]
        architecture = architecture_of(entrant.members[0].folder)
        if getattr(local, "architecture", None) != architecture:  # a candidate may have other layers
            local.architecture, local.scorer = architecture, Scorer(entrant.members[0].folder)
        harnesses = {split.name: split.harness for split in todo}
        answers: Answers = local.scorer.score(members, entrant.weights, harnesses)
        for split in todo:
            store.put(_key(entrant, split), entrant.subject.artifact, SCORER, answers[split.name])
        return entrant.subject.id, answers

    pool = ThreadPoolExecutor(workers)
    try:
        for future in as_completed([pool.submit(work, *unit) for unit in missing]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _key(entrant: Entrant, split: Split) -> str:
    return evidence_key(entrant.subject.artifact, split.cases, SCORER)
