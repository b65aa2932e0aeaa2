"""The eval stage: every subject answers the same fresh cases, and no (subject, split) is scored twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.conf import Parents, Suite
from stages.core.errors import WorkerFailed
from stages.core.progress import Report, Reports, silence
from stages.core.records import quantised
from stages.core.records.canonical import Json, dumps, read_json, write_json
from stages.core.records.evidence import Evidence
from stages.core.records.files import drafted, sha256_bytes
from stages.core.records.policy import LooksPolicy
from stages.core.scoring.identity import LOGIT, SCORER
from stages.core.scoring.work import fit
from stages.eval import baselines, hidden, suites
from stages.eval.answered import Answered, answer
from stages.eval.answers import Split
from stages.eval.baselines import Artifact, Entrant
from stages.eval.draw import Rooms, drawn
from stages.eval.private import without_words
from stages.eval.store import EvidenceStore, evidence_key, weights_of
from stages.eval.workers import Workers

INDEX = "index.json"
SCHEMA = "mergelab/evidence-index/2"
COUNTED = LooksPolicy(fresh=None, private=None)


@dataclass(frozen=True)
class Places:
    """Where the stage reads and writes. forms: lm-eval task files; ledger: of looks at hidden cases; store:
    the work cache of evidence; record: what is known of this run alone: isolation, times, memory.
    """

    parents: Path
    candidates: Path
    gates: Path
    forms: Path
    ledger: Path
    store: Path
    cases: Path
    evidence: Path
    record: Path

    @property
    def rooms(self) -> Rooms:
        """Where cases are drawn to."""
        searched = (self.candidates, self.gates)
        return Rooms(self.cases, self.forms, self.ledger, self.store.parent / "private", searched)


def run(
    suite: Suite,
    parents: Parents,
    places: Places,
    workers: Workers,
    report: Report,
    *,
    others: Reports = silence,
    looks: LooksPolicy = COUNTED,
    contaminated: frozenset[str] = frozenset(),
) -> None:
    """Write `places.cases` and `places.evidence`: a file per subject, quantised.json and index.json.

    The base, the parents and their ensembles answer even when the merge was refused; a family that shares no
    tokenizer or architecture gives an index without subjects, with the reason. report: of subjects; others:
    of what is found out after them. looks: how often the hidden cases may be looked at. contaminated: tasks
    that are answered like all others, and by which nothing is fitted.
    Raises BadCheckpoint when anything scored is not what its manifest says; what `drawn` raises; NotIsolated,
    WorkerFailed.
    """
    found = read_json(places.candidates / INDEX)
    family = [baselines.parent(places.parents, name) for name in (parents.base, *parents.merge)]
    digest = suites.suite_digest(suite, places.forms, SCORER)
    frozen = hidden.frozen_digest([entry["artifact"] for entry in found["candidates"]])
    refused = baselines.incompatible(family)
    done = Answered()
    with drawn(suite, digest, frozen, looks, places.rooms) as cases:
        if refused is None:
            store = EvidenceStore(places.store)
            search = next(split for split in cases.splits if split.name == "search")
            clean = [task for task in suites.answered(suite) if task not in contaminated]
            weights = fitted_weights(family[1:], search, clean, store, workers)
            entrants = _entrants(family, weights, places, found)
            done = answer(
                suite,
                entrants,
                cases.splits,
                clean,
                store=store,
                workers=workers,
                report=report,
                others=others,
            )
            write_json(places.record, workers.record() | {"latency": done.times})
    asked = {
        "suite": {"name": suite.name, "version": suite.version, "digest": digest},
        "tasks": suites.describe(suite),
        "hidden": cases.hidden,
        "refused": refused,
    }
    with drafted(places.evidence) as draft:
        for subject, answers in done.subjects():
            shown = answers | {"hidden": without_words(answers["hidden"], cases.private)}
            write_json(draft / f"{subject.id}.json", Evidence(subject, digest, SCORER, shown).to_json())
        write_json(draft / quantised.NAME, quantised.to_json(done.quantised))
        write_json(draft / INDEX, asked | _index(done))


def _index(done: Answered) -> dict[str, Json]:
    """What the index says of subjects: who they are, how they are made, what they cost."""
    return {
        "schema": SCHEMA,
        "ensembles": _mixtures(done.entrants),
        "derived": {one.subject.id: one.facts for one in done.derived},
        "left_out": dict(done.left_out),
        "costs": {name: one.to_json() for name, one in done.costs.items()},
        "subjects": [subject.id for subject, _ in done.subjects()],
    }


def _entrants(
    family: Sequence[Artifact], weights: Sequence[float], places: Places, index: Json
) -> list[Entrant]:
    """Everyone to be evaluated, in the order of the index: base, parents, ensembles, candidates."""
    base, *parents = family
    uniform = [1 / len(parents)] * len(parents)
    names = " + ".join(parent.id for parent in parents)
    shares = " + ".join(f"{weight:g} {parent.id}" for weight, parent in zip(weights, parents, strict=True))
    return [
        baselines.single(base, "base", base.id),
        *(baselines.single(parent, "parent", parent.id) for parent in parents),
        baselines.ensemble(baselines.UNIFORM, f"mean of {names}", parents, uniform),
        baselines.ensemble(baselines.WEIGHTED, f"mean of {shares}", parents, weights),
        baselines.ensemble(baselines.LOGITS, f"logit mean of {names}", parents, uniform, LOGIT),
        *baselines.candidate_entrants(places.candidates, index, read_json(places.gates)),
    ]


def fitted_weights(
    parents: Sequence[Artifact],
    search: Split,
    tasks: Sequence[str],
    store: EvidenceStore,
    workers: Workers,
) -> tuple[float, ...]:
    """Weights of an ensemble of the parents, fitted on `search` by a worker that can read no other cases.

    tasks: those it is fitted on. A parent that saw a task's items in training would get too much weight.
    """
    mixture = sha256_bytes(dumps(["fit", [parent.digest for parent in parents], sorted(tasks)]))
    key = evidence_key(mixture, search.cases, SCORER, workers.level)
    known = store.weights(key, len(parents))
    if known is not None:
        return known
    members = [(parent.folder, parent.digest) for parent in parents]
    found = workers.run(
        fit.request(members, search.folder, tasks),
        readable=[search.folder, *(folder for folder, _ in members)],
        subjects=len(parents),
    )
    weights = weights_of(found.get("weights") if isinstance(found, dict) else None, len(parents))
    if weights is None:
        raise WorkerFailed(f"the fit worker gave no {len(parents)} weights of sum 1. Run it again.")
    store.put_weights(key, weights)
    return weights


def _mixtures(entrants: Sequence[Entrant]) -> Json:
    """Ensemble id → its members and their weights."""
    return {
        entrant.subject.id: {
            member.id: weight for member, weight in zip(entrant.members, entrant.weights, strict=True)
        }
        for entrant in entrants
        if entrant.subject.kind == "ensemble"
    }
