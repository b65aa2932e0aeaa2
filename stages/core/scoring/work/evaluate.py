"""The evaluation's job: a worker puts the cases of some splits to some subjects, one after the other.

A part of the result for each subject, as soon as it has answered: {"subject": id, "answers": split → task →
answers}. Nothing is asked of a subject twice, and models stay in memory between subjects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.records.evidence import answers_json
from stages.core.scoring.identity import PROBABILITY, architecture_of
from stages.core.scoring.work import Tell

KIND = "evaluate"


@dataclass(frozen=True)
class Asked:
    """One subject. members: folder and digest of each model that answers for it; weights: their shares; rule:
    how several are mixed (scoring/ensemble.py), None for one.
    """

    id: str
    members: Sequence[tuple[Path, str]]
    weights: Sequence[float]
    splits: Sequence[str]
    rule: str | None = None


def request(
    subjects: Sequence[Asked], splits: Mapping[str, Path], form_of: Mapping[str, str], forms: Path
) -> dict[str, Json]:
    """The job. splits: name → folder of its cases; form_of: task → form; forms: folder of lm-eval files."""
    return {
        "kind": KIND,
        "forms": str(forms.resolve()),
        "form_of": [[task, form] for task, form in form_of.items()],
        "splits": {name: str(folder.resolve()) for name, folder in splits.items()},
        "subjects": [
            {
                "id": asked.id,
                "members": [[str(folder.resolve()), digest] for folder, digest in asked.members],
                "weights": list(asked.weights),
                "splits": list(asked.splits),
                "rule": asked.rule,
            }
            for asked in subjects
        ],
    }


def run(job: Json, tell: Tell) -> Json:
    """The number of subjects that answered.

    Raises BadCheckpoint if a folder is not what its digest names, and what Harness raises.
    """
    from stages.core.scoring.harness import Harness, Scorer
    from stages.core.weights.reader import Checkpoint

    forms, form_of = Path(job["forms"]), dict(job["form_of"])
    harnesses = {name: Harness(Path(folder), forms, form_of) for name, folder in job["splits"].items()}
    scorer, architecture = None, None
    for number, subject in enumerate(job["subjects"], start=1):
        folders = [manifests.verified(Path(folder), digest) for folder, digest in subject["members"]]
        if scorer is None or architecture_of(folders[0]) != architecture:  # a candidate may have other layers
            scorer, architecture = Scorer(folders[0]), architecture_of(folders[0])
        wanted = {split: harnesses[split] for split in subject["splits"]}
        members, rule = [Checkpoint(folder) for folder in folders], subject["rule"] or PROBABILITY
        found = scorer.score(members, subject["weights"], wanted, rule)
        answers = {split: answers_json(tasks) for split, tasks in found.items()}
        tell.part({"subject": subject["id"], "answers": answers})
        tell(number, len(job["subjects"]))
    return {"answered": len(job["subjects"])}
