"""The fit's job: the weights of an ensemble of the parents, from the search cases and nothing else."""

from collections.abc import Sequence
from pathlib import Path

from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.scoring.cases import read_cases
from stages.core.scoring.work import Tell

KIND = "fit"


def request(parents: Sequence[tuple[Path, str]], search: Path, tasks: Sequence[str]) -> dict[str, Json]:
    """The job. parents: folder and manifest digest of each; search: the folder of the search cases.

    tasks: those of them that it is fitted on.
    """
    return {
        "kind": KIND,
        "parents": [[str(folder.resolve()), digest] for folder, digest in parents],
        "search": str(search.resolve()),
        "tasks": sorted(tasks),
    }


def run(job: Json, tell: Tell) -> Json:
    """{"weights": one for each parent, at least 0, of sum 1}.

    Raises BadCheckpoint if a folder is not what its digest names.
    """
    from stages.core.scoring.ensemble import fit_weights
    from stages.core.scoring.model import ResidentModel
    from stages.core.weights.reader import Checkpoint

    model = ResidentModel(Path(job["parents"][0][0]))
    cases = [item for task in job["tasks"] for item in read_cases(Path(job["search"], f"{task}.jsonl"))]
    pairs = [(item.prompt, item.answer) for item in cases]
    likelihoods = []
    for number, (folder, digest) in enumerate(job["parents"], start=1):
        model.swap(Checkpoint(manifests.verified(Path(folder), digest)))
        likelihoods.append(model.answer_loglikelihoods(pairs))
        tell(number, len(job["parents"]))
    return {"weights": list(fit_weights(likelihoods))}
