"""Ours: one process that builds the model once, and merges every candidate straight into it."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from stages.core.records import recipe as recipes
from stages.core.scoring.harness import Harness, Scorer
from stages.core.weights import engine
from stages.core.weights.plan import Plan, plan
from stages.core.weights.reader import Checkpoint, TensorSpec

PARTS = ("merge", "swap", "answers")


def now() -> tuple[float, float]:
    """Seconds of wall and of processor time so far."""
    return time.monotonic(), time.process_time()


class Unwritten:
    """The tensors of a merge that lies in memory and nowhere else, for `ResidentModel.swap`."""

    def __init__(self, planned: Plan, like: Checkpoint) -> None:
        self._state = {
            job.name: torch.empty(job.shape, dtype=getattr(torch, job.dtype)) for job in planned.jobs
        }
        self.tensors: Mapping[str, TensorSpec] = {
            job.name: replace(like.tensors[job.name], dtype=job.dtype) for job in planned.jobs
        }

    def merge(self, planned: Plan, sources: Mapping[str, Path]) -> None:
        """Merge anew, over what was there."""
        engine.merge_into(planned, sources, self._state)

    def read(self, name: str) -> torch.Tensor:
        """The tensor of that name."""
        return self._state[name]


def candidates(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Per recipe the seconds of each part, and the accuracy of each task."""
    sources = {digest: Path(folder) for digest, folder in job["sources"].items()}
    first = next(iter(sources.values()))
    harness = Harness(Path(job["cases"]), Path(job["forms"]), job["form_of"])
    scorer = Scorer(first)
    scorer.load([Checkpoint(first)])  # builds the model
    made: Unwritten | None = None
    for tree in job["recipes"]:
        times = [now()]
        planned = plan(recipes.from_json(tree), sources)
        made = made or Unwritten(planned, Checkpoint(first))
        made.merge(planned, sources)
        times.append(now())
        (model,) = scorer.load([made])
        times.append(now())
        answers = harness.answers(model)
        times.append(now())
        spent = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(times)]
        yield {
            "seconds": dict(zip(PARTS, spent, strict=True)),
            "accuracy": {task: found.accuracy for task, found in answers.items()},
        }


if __name__ == "__main__":
    for line in candidates(json.load(sys.stdin)):
        print(json.dumps(line), flush=True)  # noqa: T201
