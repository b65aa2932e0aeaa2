"""The gate's job: a worker measures the parents once and judges every candidate it is given.

A part of the result for each candidate, as soon as it is judged: {"candidate": id, "verdict": its tree}.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json
from stages.core.records.policy import GatePolicy
from stages.core.scoring.work import Tell

KIND = "judge"


def request(
    family: Sequence[tuple[Path, str]],
    smoke: Sequence[tuple[str, str]],
    policy: GatePolicy,
    candidates: Mapping[str, tuple[Path, str]],
) -> dict[str, Json]:
    """The job. family: folder and manifest digest of the base, then of the parents; smoke: prompt and answer;
    candidates: id → folder and digest.
    """
    return {
        "kind": KIND,
        "family": [[str(folder.resolve()), digest] for folder, digest in family],
        "smoke": [list(pair) for pair in smoke],
        "policy": policy.model_dump(mode="json"),
        "candidates": [
            [name, str(folder.resolve()), digest] for name, (folder, digest) in candidates.items()
        ],
    }


def run(job: Json, tell: Tell) -> Json:
    """The number of candidates judged. Raises BadCheckpoint if a folder is not what its digest names."""
    from stages.core.scoring.checks import Gate, measure

    base, *parents = [manifests.verified(Path(folder), digest) for folder, digest in job["family"]]
    smoke = [(prompt, answer) for prompt, answer in job["smoke"]]
    models, done = len(parents) + len(job["candidates"]), count(1)
    yardstick = measure(base, parents, smoke, lambda: tell(next(done), models))
    gate = Gate(yardstick, GatePolicy.model_validate(job["policy"]))
    for name, folder, digest in job["candidates"]:
        verdict = gate.judge(manifests.verified(Path(folder), digest))
        tell.part({"candidate": name, "verdict": verdict.to_json()})
        tell(next(done), models)
    return {"judged": len(job["candidates"])}
