"""The stopwatch's job: a worker times some subjects, interleaved, beside the first of them."""

from collections.abc import Sequence
from pathlib import Path

from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.scoring.work import Tell

KIND = "latency"


def request(subjects: Sequence[tuple[str, Sequence[tuple[Path, str]]]]) -> dict[str, Json]:
    """The job. subjects: id, and folder and manifest digest of each model; the first is the reference."""
    return {
        "kind": KIND,
        "subjects": [
            [name, [[str(folder.resolve()), digest] for folder, digest in members]]
            for name, members in subjects
        ],
    }


def run(job: Json, tell: Tell) -> Json:
    """{"threads", "rounds", "subjects": id → `summary`, and peak_rss_bytes when its models were in memory}.

    Subjects are loaded in the order given, and stay: put those of one model before those of several.
    Raises BadCheckpoint if a folder is not what its digest names.
    """
    import torch

    from stages.core.scoring.latency import measure, peak_bytes, summary
    from stages.core.scoring.model import ResidentModel
    from stages.core.weights.reader import Checkpoint

    loaded: dict[str, ResidentModel] = {}
    peaks = {}
    for number, (name, members) in enumerate(job["subjects"], start=1):
        for folder, digest in members:
            if digest not in loaded:
                found = manifests.verified(Path(folder), digest)
                loaded[digest] = ResidentModel(found)
                loaded[digest].swap(Checkpoint(found))
        peaks[name] = peak_bytes()
        tell(number, len(job["subjects"]))
    modules = {name: [loaded[digest].module for _, digest in members] for name, members in job["subjects"]}
    samples = measure(modules, min(model.max_length for model in loaded.values()))
    found_all = {name: {**told, "peak_rss_bytes": peaks[name]} for name, told in summary(samples).items()}
    rounds = len(next(iter(samples.values())).token)
    return {"threads": torch.get_num_threads(), "rounds": rounds, "subjects": found_all}
