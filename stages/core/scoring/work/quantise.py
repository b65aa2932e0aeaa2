"""The rounding's job: a worker puts cases of some tasks to models before and after rounding their weights.

A part of the result for each model, as soon as it is known: {"subject": id, "quantised": its entry}.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.scoring.cases import read_cases
from stages.core.scoring.identity import architecture_of
from stages.core.scoring.work import Tell

if TYPE_CHECKING:
    from stages.core.scoring.model import ResidentModel
    from stages.core.scoring.quantise import Question

KIND = "quantise"
CHOICE = "multiple_choice"  # lm-eval's output_type of a task whose answer is the likeliest of some


def request(
    subjects: Sequence[tuple[str, Path, str]],
    cases: Path,
    form_of: Mapping[str, str],
    forms: Path,
    widths: Sequence[str],
) -> dict[str, Json]:
    """The job. subjects: id, folder and manifest digest of each; cases: folder of the split; form_of: task →
    form, of the tasks wanted; widths: of records/quantised.py.
    """
    return {
        "kind": KIND,
        "subjects": [[name, str(folder.resolve()), digest] for name, folder, digest in subjects],
        "cases": str(cases.resolve()),
        "form_of": [[task, form] for task, form in form_of.items()],
        "forms": str(forms.resolve()),
        "widths": list(widths),
    }


def run(job: Json, tell: Tell) -> Json:
    """The number of subjects that answered. Raises BadCheckpoint if a folder is not what its digest names."""
    from stages.core.records.quantised import Quantised
    from stages.core.scoring.model import ResidentModel
    from stages.core.scoring.quantise import WIDTH, compare, judged, outliers, round_weights
    from stages.core.weights.reader import Checkpoint

    widths: list[str] = job["widths"]
    models: list[ResidentModel] = []
    architecture: Json = None
    for number, (name, folder, digest) in enumerate(job["subjects"], start=1):
        found = manifests.verified(Path(folder), digest)
        if architecture_of(found) != architecture:  # a candidate may have other layers
            architecture = architecture_of(found)
            models = [ResidentModel(found) for _ in ("as it is", *widths)]
        weights = Checkpoint(found)
        for model in models:
            model.swap(weights)
        median, largest = outliers(models[0].module)
        for model, width in zip(models[1:], widths, strict=True):
            round_weights(model.module, WIDTH[width])
        answers: dict[str, dict[str, Json]] = {width: {} for width in widths}
        for task, form in job["form_of"]:
            rows, questions = _questions(models[0], Path(job["cases"], f"{task}.jsonl"), _chooses(job, form))
            reference, *others = compare([model.module for model in models], rows)
            for width, other in zip(widths, others, strict=True):
                answers[width][task] = judged(questions, reference, other)
        tell.part({"subject": name, "quantised": Quantised(answers, median, largest).to_json()})
        tell(number, len(job["subjects"]))
    return {"answered": len(job["subjects"])}


def _chooses(job: Json, form: str) -> bool:
    import yaml

    tree = yaml.safe_load(Path(job["forms"], f"{form}.yaml").read_text(encoding="utf-8"))
    return bool(tree["output_type"] == CHOICE)


def _questions(
    model: "ResidentModel", path: Path, chooses: bool
) -> tuple[list[tuple[list[int], list[int]]], list["Question"]]:
    """Token ids of every pair of prompt and answer, or choice, and what each item is made of."""
    from stages.core.scoring.model import encode_pair
    from stages.core.scoring.quantise import Question

    rows: list[tuple[list[int], list[int]]] = []
    questions = []
    for item in read_cases(path):
        answers = item.choices if chooses and item.choices else (item.answer,)
        pairs = [encode_pair(model.tokenizer, item.prompt, answer) for answer in answers]
        right = answers.index(item.answer)
        places = tuple(range(len(rows), len(rows) + len(pairs)))
        questions.append(Question(places, right, tuple(pairs[right][1])))
        rows += pairs
    return rows, questions
