"""What a subject answered, item by item: the only thing that metrics, intervals and fronts are made from.

A subject is anything that answered the same items: a candidate, a parent, the base, an output ensemble, a
router or cascade of the parents.
One file per subject, `data/evidence/<subject id>.json`; the cases themselves lie in the same order in
`data/cases/<split>/<task>.jsonl`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records.canonical import Json, read_json

SCHEMA = "mergelab/evidence/2"
KINDS = ("candidate", "parent", "base", "ensemble", "router", "cascade", "bound")
DIGITS = 4  # of nats and measures: the last digits depend on the CPU's kernels (DESIGN, the way of a request)


@dataclass(frozen=True)
class TaskEvidence:
    """Answers to one task on one split, in the order of its cases.

    correct: one bool per item, right as the task's form has it: exact match under greedy decoding, the
    likeliest choice, a call that does what was asked.
    loglikelihood: nats of the right answer per item, rounded to 1e-4; answer_tokens: its length in tokens.
    measures: what else the form measures, by name, a number per item to 1e-4; None where it does not apply.
    said: the generated text per item, where the form generates.
    """

    correct: tuple[bool, ...]
    loglikelihood: tuple[float, ...]
    answer_tokens: tuple[int, ...]
    measures: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    said: tuple[str, ...] | None = None

    @property
    def accuracy(self) -> float:
        """Share of items answered exactly, in [0, 1]."""
        return sum(self.correct) / len(self.correct)


@dataclass(frozen=True)
class Subject:
    """Who answered. kind: of KINDS; a `bound` could not be served, and is on no front.

    artifact: sha256; the artifact's manifest digest, or the digest of what an ensemble, router or cascade is
    made from. passes: forward passes per token; an ensemble of two parents takes 2, a cascade a mean.
    models: how many must be in memory; a router asks one parent a token, and keeps all of them at hand.
    """

    id: str
    kind: str
    label: str
    artifact: str
    passes: float
    models: int = 1


@dataclass(frozen=True)
class Evidence:
    """All answers of one subject: results[split][task]."""

    subject: Subject
    suite_digest: str
    scorer: int
    results: Mapping[str, Mapping[str, TaskEvidence]]

    def to_json(self) -> Json:
        """The tree of one evidence file; answers as a string of 0 and 1."""
        return {
            "schema": SCHEMA,
            "subject": vars(self.subject),
            "suite_digest": self.suite_digest,
            "scorer": self.scorer,
            "results": {split: answers_json(tasks) for split, tasks in self.results.items()},
        }


def load(path: Path) -> Evidence:
    """Read one evidence file. Raises LabError naming the file if its schema or lengths are wrong."""
    tree = read_json(path)
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise LabError(f"{path}: expected schema {SCHEMA!r}. Run `dvc repro eval`.")
    results = {split: answers_of(tasks, str(path)) for split, tasks in tree["results"].items()}
    return Evidence(Subject(**tree["subject"]), tree["suite_digest"], tree["scorer"], results)


def answers_json(tasks: Mapping[str, TaskEvidence]) -> Json:
    """Task → its tree: answers as a string of 0 and 1, numbers to four digits, lengths in tokens."""
    return {task: _tree(answers) for task, answers in tasks.items()}


def _tree(answers: TaskEvidence) -> Json:
    tree: dict[str, Json] = {
        "correct": "".join("01"[bit] for bit in answers.correct),
        "loglikelihood": _rounded(answers.loglikelihood),
        "answer_tokens": list(answers.answer_tokens),
    }
    if answers.measures:
        tree["measures"] = {name: _rounded(values) for name, values in answers.measures.items()}
    if answers.said is not None:
        tree["said"] = list(answers.said)
    return tree


def _rounded(values: Sequence[float | None]) -> list[Json]:
    # adding 0.0 turns a rounded −0.0 into 0.0
    return [None if value is None else round(value, DIGITS) + 0.0 for value in values]


def answers_of(tree: Json, where: str) -> dict[str, TaskEvidence]:
    """The answers of a tree of `answers_json`. Raises LabError naming `where` if lists differ in length."""
    return {task: _task(where, task, answers) for task, answers in tree.items()}


def _task(where: str, task: str, tree: Json) -> TaskEvidence:
    said = tree.get("said")
    answers = TaskEvidence(
        tuple(bit == "1" for bit in tree["correct"]),
        tuple(tree["loglikelihood"]),
        tuple(tree["answer_tokens"]),
        {name: tuple(values) for name, values in tree.get("measures", {}).items()},
        None if said is None else tuple(said),
    )
    columns = [answers.loglikelihood, answers.answer_tokens, *answers.measures.values(), said]
    if {len(column) for column in columns if column is not None} != {len(answers.correct)}:
        raise LabError(f"{where}: the lists of task {task!r} differ in length. Run `dvc repro eval`.")
    return answers
