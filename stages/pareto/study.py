"""Everything the report is made from, read once and checked against itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records import evidence as records
from stages.core.records import quantised as rounded
from stages.core.records.canonical import Json, read_json
from stages.core.records.costs import Costs, of_json
from stages.core.records.evidence import Evidence, TaskEvidence
from stages.core.records.quantised import Quantised
from stages.core.records.terms import contaminated

SPLIT = "hidden"  # the only split that outcomes may rest on: no search could read it
NICHE = "niche:"
KIND_NAMES = {
    "shared": "shared skill",
    "rare": "rare skill",
    "conflict": "conflicting prompts",
    "refusal": "refusal",
    "long_context": "long context",
    "tool": "tool calls",
    "out_of_distribution": "out of distribution",
    "bias": "bias pairs",
    "calibration": "calibration",
    "canary": "canaries",
    "perplexity": "running text",
}


@dataclass(frozen=True)
class Experiment:
    """What was asked: the request's words, and the ids of the base and of the parents in order."""

    id: str
    title: str
    question: str
    base: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """One task of the suite. `items`: its hidden cases; family and pair say what is resampled together."""

    name: str
    kind: str
    parent: str | None
    description: str
    items: tuple[Json, ...]


@dataclass(frozen=True)
class Candidate:
    """One merge that was proposed: `label` is the proposal's, `parameters` are for people.

    refusal: why the method had no answer for these parents; None where an artifact was made.
    """

    id: str
    method: str
    parameters: Mapping[str, Json]
    origin: str
    label: str
    artifact: str
    bytes: int
    refusal: str | None


@dataclass(frozen=True)
class Study:
    """One experiment's inputs. `evidence` is keyed by subject id, in the order of evidence/index.json.

    costs, quantised: by subject id; empty where eval did not measure them.
    """

    experiment: Experiment
    eligibility: Json
    refused: str | None
    candidates: tuple[Candidate, ...]
    gates: Mapping[str, Json]
    suite: Json
    frozen: str
    tasks: tuple[Task, ...]
    evidence: Mapping[str, Evidence]
    lineages: Mapping[str, Json]
    costs: Mapping[str, Costs] = field(default_factory=dict)
    quantised: Mapping[str, Quantised] = field(default_factory=dict)

    @property
    def contaminated(self) -> frozenset[str]:
        """Tasks that a model of the family saw in training: reported, and no outcome rests on them."""
        return contaminated(self.eligibility)

    @property
    def niches(self) -> Sequence[tuple[str, Sequence[str]]]:
        """(parent id, its niche tasks) for every parent that has a niche, in the order of the parents.

        Contaminated tasks are no objective: eligibility saw to it that every parent keeps another.
        """
        clean = [task for task in self.tasks if task.name not in self.contaminated]
        found = [
            (parent, [task.name for task in clean if task.kind.startswith(NICHE) and task.parent == parent])
            for parent in self.experiment.parents
        ]
        return [(parent, tasks) for parent, tasks in found if tasks]

    @property
    def made(self) -> Sequence[Candidate]:
        """The candidates that have an artifact."""
        return [candidate for candidate in self.candidates if candidate.refusal is None]

    def of_kind(self, kind: str) -> list[str]:
        """Ids of the subjects of one kind (records/evidence.py, KINDS), in order."""
        return [name for name, evidence in self.evidence.items() if evidence.subject.kind == kind]

    def role_of(self, name: str) -> str:
        """The kind of one evaluated subject (records/evidence.py, KINDS)."""
        return self.evidence[name].subject.kind

    def answers(self, subject: str, task: str) -> TaskEvidence:
        """What `subject` answered to the hidden cases of `task`."""
        return self.evidence[subject].results[SPLIT][task]


def load(data: Path, experiment: Experiment) -> Study:
    """Read the outputs of eligibility, merge, gate and eval under `data`.

    Where eligibility refused, the baselines may have been evaluated all the same; without them the study has
    no evidence. Raises LabError if a file is missing, malformed, or disagrees with another.
    """
    eligibility = read_json(data / "eligibility.json")
    if not eligibility["passed"] and not (data / "evidence" / "index.json").exists():
        return Study(experiment, eligibility, "not eligible", (), {}, {}, "", (), {}, {})
    index = read_json(data / "candidates" / "index.json")
    proposed = [*index["candidates"], *index.get("unmergeable", ())]
    candidates = tuple(_candidate(entry) for entry in proposed)
    described = read_json(data / "evidence" / "index.json")
    tasks = [_task(data, name, entry) for name, entry in described["tasks"].items()]
    tasks.sort(key=lambda task: _place(task, experiment))
    study = Study(
        experiment,
        eligibility,
        index["refused"],
        candidates,
        read_json(data / "gates.json")["candidates"] if candidates else {},
        described["suite"],
        described["hidden"]["frozen"],
        tuple(tasks),
        {
            name: _evidence(data / "evidence" / f"{name}.json", name, described["suite"]["digest"], tasks)
            for name in described["subjects"]
        },
        {one.id: _lineage(data / "candidates" / one.id / "lineage.json") for one in candidates},
        _costs(data / "evidence" / "index.json", described),
        rounded.load(path) if (path := data / "evidence" / rounded.NAME).exists() else {},
    )
    if study.evidence or candidates:
        _check(study, data)
    return study


def _place(task: Task, experiment: Experiment) -> tuple[int, int, str]:
    """Niches in the order of the parents, then the kinds as KIND_NAMES lists them, then names."""
    if task.kind.startswith(NICHE):
        known = task.parent in experiment.parents
        return 0, experiment.parents.index(task.parent) if known and task.parent else 99, task.name
    kinds = list(KIND_NAMES)
    return 1, kinds.index(task.kind) if task.kind in kinds else len(kinds), task.name


def _candidate(entry: Json) -> Candidate:
    proposal = entry["proposal"]
    return Candidate(
        entry["id"],
        entry["method"],
        entry["parameters"],
        proposal["origin"],
        proposal["label"],
        entry.get("artifact", ""),
        entry.get("bytes", 0),
        entry.get("reason"),
    )


def _lineage(path: Path) -> Json:
    return read_json(path) if path.exists() else None


def _costs(path: Path, described: Json) -> dict[str, Costs]:
    """Raises LabError if an entry of `costs` lacks a number."""
    try:
        return {name: of_json(entry) for name, entry in described.get("costs", {}).items()}
    except (KeyError, TypeError) as problem:
        raise LabError(f"{path}: costs are malformed: {problem!r}. Run `dvc repro eval`.") from problem


def _task(data: Path, name: str, entry: Json) -> Task:
    path = data / "cases" / SPLIT / f"{name}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as problem:
        raise LabError(f"cannot read {path}: {problem.strerror}. Run `dvc repro eval`.") from problem
    items = tuple(_line(line, path) for line in lines if line)
    return Task(name, entry["kind"], entry["parent"], entry["description"], items)


def _line(line: str, path: Path) -> Json:
    try:
        return json.loads(line)
    except ValueError as problem:
        raise LabError(f"{path} holds a line that is not JSON: {problem}") from problem


def _evidence(path: Path, name: str, suite_digest: str, tasks: Sequence[Task]) -> Evidence:
    evidence = records.load(path)
    if evidence.subject.id != name or evidence.suite_digest != suite_digest:
        raise LabError(
            f"{path} belongs to another subject or suite than evidence/index.json. Run `dvc repro eval`."
        )
    for task in tasks:
        answers = evidence.results.get(SPLIT, {}).get(task.name)
        found = len(answers.correct) if answers else 0
        if found != len(task.items) or not found:
            raise LabError(
                f"{path}: expected {len(task.items)} answers to {SPLIT} task {task.name!r}, got {found}. "
                "Run `dvc repro eval`."
            )
    return evidence


def _check(study: Study, data: Path) -> None:
    """Raises LabError unless every baseline, and every candidate that passed its gate, was evaluated.

    And nobody else: whoever is no proposal has no outcome, and would stand in the report all the same.
    """
    wanted = [study.experiment.base, *study.experiment.parents]
    for candidate in study.made:
        if candidate.id not in study.gates:
            raise LabError(f"{data / 'gates.json'} says nothing of {candidate.id}. Run `dvc repro gate`.")
        if study.gates[candidate.id]["passed"]:
            wanted.append(candidate.id)
    missing = [name for name in wanted if name not in study.evidence]
    if missing:
        raise LabError(f"no evidence of {', '.join(missing)} in {data / 'evidence'}. Run `dvc repro eval`.")
    for name, one in study.quantised.items():
        known = study.evidence[name].results[SPLIT] if name in study.evidence else {}
        for task, answers in (pair for tasks in one.answers.values() for pair in tasks.items()):
            if task not in known or len(known[task].correct) != len(answers.correct):
                raise LabError(
                    f"{data / 'evidence' / rounded.NAME}: {name} did not answer the same items of {task!r} "
                    "before rounding. Run `dvc repro eval`."
                )
    proposed = [candidate.id for candidate in study.made]
    strangers = [name for name in study.of_kind("candidate") if name not in proposed]
    if strangers:
        raise LabError(
            f"evidence of {', '.join(strangers)}, which {data / 'candidates/index.json'} does not name. "
            "Run `dvc repro eval`."
        )
    if not study.niches:
        raise LabError("no task of the suite is a niche of a merged parent: set `parent` in conf/suite.")
