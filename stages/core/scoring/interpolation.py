"""What lies between checkpoints of one family: the loss at their means, beside the losses at the ends.

In one basin the mean of two models is about as good as they are; between two basins it is not (Frankle et al.
2020, arXiv 1912.05671). One model is kept in memory; tensors are read, and hashed, one at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from math import fsum

import torch

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import Json
from stages.core.scoring.model import ResidentModel
from stages.core.weights.index import Side, side_from_json, widened
from stages.core.weights.reader import Checkpoint, TensorSpec
from stages.core.weights.verified import VerifiedFile

KIND = "interpolate"


def run(job: Json, progress: Callable[[int, int], None]) -> Json:
    """`losses` as a worker's job of these keys: sides (Side.to_json, the base first), cases."""
    base, *parents = (side_from_json(tree) for tree in job["sides"])
    cases = {skill: [(prompt, answer) for prompt, answer in pairs] for skill, pairs in job["cases"].items()}
    return losses(base, parents, cases, progress)


def losses(
    base: Side,
    parents: Sequence[Side],
    cases: Mapping[str, Sequence[tuple[str, str]]],
    on_progress: Callable[[int, int], None] | None = None,
) -> Json:
    """Mean negative log-likelihood (nats) of an answer token, each skill counting alike.

    Of every model (`ends`: role → loss), of the mean of each parent with the base (`to_base`: role → loss),
    and of the mean of all parents (`mean`). cases: skill → (prompt, answer) of each item.
    on_progress: models run so far, and in all.
    Raises LabError for a model that cannot be run, BadCheckpoint for altered bytes.
    """
    resident, models, done = ResidentModel(base.folder), 2 * len(parents) + 2, count(1)

    def loss(*sides: Side) -> float:
        with Mean(sides) as weights:
            resident.swap(weights)
            weights.finish()
        found = _loss(resident, cases)
        if on_progress is not None:
            on_progress(next(done), models)
        return found

    return {
        "ends": {side.role: loss(side) for side in (base, *parents)},
        "to_base": {side.role: loss(base, side) for side in parents},
        "mean": loss(*parents),
    }


class Mean:
    """The arithmetic mean of checkpoints in float32, tensor by tensor, for `ResidentModel.swap`."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._stack = ExitStack()
        self._opened = [
            (checkpoint, self._files(side, checkpoint))
            for side in sides
            for checkpoint in (Checkpoint(side.folder),)
        ]

    @property
    def tensors(self) -> Mapping[str, TensorSpec]:
        """Name → dtype and shape, as in the first checkpoint."""
        return self._opened[0][0].tensors

    def read(self, name: str) -> torch.Tensor:
        """The mean of the tensors of that name, float32; each may be asked for once."""
        total: torch.Tensor | None = None
        for checkpoint, files in self._opened:
            spec = checkpoint.tensors[name]
            values = torch.from_numpy(widened(files[spec.file].read(spec.start, spec.end), spec.dtype))
            total = values.reshape(spec.shape) if total is None else total + values.reshape(spec.shape)
        if total is None:
            raise AssertionError("a mean of no checkpoints")
        return total / len(self._opened)

    def finish(self) -> None:
        """Raise BadCheckpoint unless every file has the digest of its manifest."""
        for _, files in self._opened:
            for file in files.values():
                file.finish()

    def _files(self, side: Side, checkpoint: Checkpoint) -> dict[str, VerifiedFile]:
        if lacking := sorted(checkpoint.files.keys() - side.sha256.keys()):
            raise BadCheckpoint("manifest-incomplete", f"the manifest of {side.role} lacks {lacking}.")
        files = {}
        for name, file in checkpoint.files.items():
            pieces = [(spec.start, spec.end) for spec in checkpoint.tensors.values() if spec.file == name]
            files[name] = VerifiedFile(side.folder / name, file, pieces, side.sha256[name])
            self._stack.callback(files[name].close)
        return files

    def __enter__(self) -> "Mean":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def _loss(resident: ResidentModel, cases: Mapping[str, Sequence[tuple[str, str]]]) -> float:
    each = []
    for pairs in cases.values():
        answers = resident.answer_loglikelihoods(pairs)
        tokens = [nats for answer in answers for nats in answer]
        each.append(-fsum(tokens) / len(tokens))
    return fsum(each) / len(each)
