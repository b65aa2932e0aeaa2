"""The eval stage: every subject answers the same fresh cases, and no (subject, split) is scored twice."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.conf import Parents, Suite
from stages.core.progress import Report
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.records.evidence import Evidence
from stages.core.records.files import publish
from stages.core.scoring.cases import cases_digest, read_cases
from stages.core.scoring.ensemble import fit_weights
from stages.core.scoring.harness import BATCH_SIZE, SCORER, Scorer
from stages.core.weights.reader import Checkpoint
from stages.eval import baselines, hidden, suites
from stages.eval.answers import Answers, Split, score_all
from stages.eval.baselines import Artifact, Entrant
from stages.eval.store import EvidenceStore

INDEX = "index.json"
SCHEMA = "mergelab/evidence-index/1"


@dataclass(frozen=True)
class Places:
    """Where the stage reads and writes. forms: lm-eval task files; store: the work cache of evidence."""

    parents: Path
    candidates: Path
    gates: Path
    forms: Path
    store: Path
    cases: Path
    evidence: Path


def run(
    suite: Suite,
    parents: Parents,
    places: Places,
    workers: int,
    report: Report,
    *,
    contaminated: frozenset[str] = frozenset(),
) -> None:
    """Write `places.cases` and `places.evidence`: one file per subject and index.json.

    The base, the parents and their ensembles answer even when the merge was refused; a family that shares no
    tokenizer or architecture gives an index without subjects, with the reason. contaminated: tasks that are
    answered like all others, and by which nothing is fitted.
    Raises BadCheckpoint when anything scored is not what its manifest says.
    """
    index = read_json(places.candidates / INDEX)
    family = [baselines.parent(places.parents, name) for name in (parents.base, *parents.merge)]
    digest = suites.suite_digest(suite, places.forms, SCORER)
    frozen = hidden.frozen_digest([entry["artifact"] for entry in index["candidates"]])
    seed = hidden.hidden_seed(frozen, digest)
    splits = _write_cases(suite, seed, places)
    refused = baselines.incompatible(family)
    entrants: list[Entrant] = []
    results: dict[str, Answers] = {}
    if refused is None:
        entrants = _entrants(family, splits, places, index, contaminated)
        results = score_all(entrants, splits, EvidenceStore(places.store), workers, report)
    draft = places.evidence.with_name(f".{places.evidence.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for entrant in entrants:
        evidence = Evidence(entrant.subject, digest, SCORER, results[entrant.subject.id])
        write_json(draft / f"{entrant.subject.id}.json", evidence.to_json())
    write_json(
        draft / INDEX,
        {
            "schema": SCHEMA,
            "suite": {"name": suite.name, "version": suite.version, "digest": digest},
            "tasks": suites.describe(suite),
            "hidden": {"seed": seed, "frozen": frozen},
            "refused": refused,
            "ensembles": _mixtures(entrants),
            "subjects": [entrant.subject.id for entrant in entrants],
        },
    )
    publish(draft, places.evidence)


def _write_cases(suite: Suite, seed: int, places: Places) -> list[Split]:
    draft = places.cases.with_name(f".{places.cases.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    suites.write_suite(suite, seed, draft)
    publish(draft, places.cases)
    tasks = suites.plan(suite)
    form_of = {name: task.form for name, task in tasks.items()}
    return [
        Split(
            name,
            cases_digest(places.cases / name, form_of, places.forms),
            {task: plan.items[name] for task, plan in tasks.items()},
            places.cases / name,
            places.forms,
            form_of,
        )
        for name in suites.SPLITS
    ]


def _entrants(
    family: Sequence[Artifact],
    splits: Sequence[Split],
    places: Places,
    index: Json,
    contaminated: frozenset[str],
) -> list[Entrant]:
    """Everyone to be evaluated, in the order of the index: base, parents, ensembles, candidates."""
    base, *parents = family
    uniform = [1 / len(parents)] * len(parents)
    search = next(split.folder for split in splits if split.name == "search")
    weights = fitted_weights(parents, search, contaminated)
    names = " + ".join(parent.id for parent in parents)
    shares = " + ".join(f"{weight:g} {parent.id}" for weight, parent in zip(weights, parents, strict=True))
    return [
        baselines.single(base, "base", base.id),
        *(baselines.single(parent, "parent", parent.id) for parent in parents),
        baselines.ensemble(baselines.UNIFORM, f"mean of {names}", parents, uniform),
        baselines.ensemble(baselines.WEIGHTED, f"mean of {shares}", parents, weights),
        *baselines.candidate_entrants(places.candidates, index, read_json(places.gates)),
    ]


def fitted_weights(
    parents: Sequence[Artifact], search: Path, contaminated: frozenset[str] = frozenset()
) -> tuple[float, ...]:
    """Ensemble weights of the parents, fitted on the cases in the folder `search` and nothing else.

    Tasks that are contaminated are left out: a parent that saw their items would be given too much weight.
    """
    scorer = Scorer(parents[0].folder)
    pairs = [
        (item.prompt, item.answer)
        for path in sorted(search.glob("*.jsonl"))
        if path.stem not in contaminated
        for item in read_cases(path)
    ]
    likelihoods = []
    for parent in parents:
        [model] = scorer.load([Checkpoint(parent.verified())])
        likelihoods.append(model.answer_loglikelihoods(pairs, batch_size=BATCH_SIZE))
    return fit_weights(likelihoods)


def _mixtures(entrants: Sequence[Entrant]) -> Json:
    """Ensemble id → its members and their weights."""
    return {
        entrant.subject.id: {
            member.id: weight for member, weight in zip(entrant.members, entrant.weights, strict=True)
        }
        for entrant in entrants
        if entrant.subject.kind == "ensemble"
    }
