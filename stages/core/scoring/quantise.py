"""Weights rounded to 8 or 4 bits, and what that does to answers: simulated, in float32.

Round-to-nearest, symmetric, one scale for each output channel (int8) or for each 32 of its inputs (int4): the
plainest scheme there is, and the baseline of all others (Nagel et al. 2021, arXiv 2106.08295; blocks of 32 as
in GGUF's Q4_0). Rounded are the matrices of linear layers. Embeddings, the output head, norms and biases stay
as they are, and so do activations: what is measured is the loss by storing weights in few bits.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from transformers.pytorch_utils import Conv1D

from stages.core.errors import LabError
from stages.core.records.quantised import Rounded
from stages.core.scoring.engine.network import PAD

BATCH_SIZE: Final = 16  # pairs; fixed, because padding and grouping move the last digits of a likelihood


@dataclass(frozen=True)
class Width:
    """largest: of the integers, −largest to largest. group: inputs that share a scale; None for all."""

    largest: int
    group: int | None


WIDTH: Final = {"int8": Width(127, None), "int4": Width(7, 32)}


@dataclass(frozen=True)
class Compared:
    """One pair of prompt and answer, put to one model, beside the reference.

    loglikelihood: of the answer, nats. said: the likeliest token at each place of the answer. kl: over those
    places, the sum of KL(reference ‖ model), nats.
    """

    loglikelihood: float
    said: tuple[int, ...]
    kl: float


def rounded(weight: torch.Tensor, width: Width) -> torch.Tensor:
    """`weight`, [output channels, inputs], at the nearest points of its grid; ties to even. float32.

    The last group of a channel may be shorter. A group of zeros stays zero.
    """
    outputs, inputs = weight.shape
    group = width.group or inputs
    padded = torch.nn.functional.pad(weight.float(), (0, -inputs % group)).reshape(outputs, -1, group)
    scale = padded.abs().amax(dim=2, keepdim=True) / width.largest
    steps = torch.round(padded / torch.where(scale > 0, scale, 1.0)).clamp(-width.largest, width.largest)
    return (steps * scale).reshape(outputs, -1)[:, :inputs]


def outlier_ratios(weight: torch.Tensor) -> torch.Tensor:
    """Largest |w| over the root mean square, per output channel of [output channels, inputs]; 0 for zeros.

    Between 1, all entries alike in size, and √inputs, one entry alone: what a scale for all of them wastes.
    """
    values = weight.double()
    square = values.square().mean(dim=1).sqrt()
    return torch.where(square > 0, values.abs().amax(dim=1) / torch.where(square > 0, square, 1.0), 0.0)


def matrices(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """The weights that are rounded, each as [output channels, inputs], sharing memory with `module`'s own."""
    head = getattr(module, "get_output_embeddings", lambda: None)()
    for part in module.modules():
        if isinstance(part, torch.nn.Linear) and part is not head:
            yield part.weight
        elif isinstance(part, Conv1D):
            yield part.weight.T


@torch.no_grad()
def round_weights(module: torch.nn.Module, width: Width) -> None:
    """Round `module`'s matrices in place. Raises LabError if it has none of the kinds known here."""
    found = list(matrices(module))
    if not found:
        raise LabError(f"{type(module).__name__} has no linear layer that could be rounded.")
    for weight in found:
        weight.copy_(rounded(weight, width))


@torch.no_grad()
def outliers(module: torch.nn.Module) -> tuple[float, float]:
    """Median and maximum of the outlier ratio over all output channels of all matrices."""
    ratios = torch.cat([outlier_ratios(weight) for weight in matrices(module)])
    return float(ratios.median()), float(ratios.max())


@torch.no_grad()
def compare(
    models: Sequence[torch.nn.Module], rows: Sequence[tuple[list[int], list[int]]]
) -> list[list[Compared]]:
    """Per model and pair; the first of `models` is the reference. rows: token ids of prompt and answer.

    The longest pairs run first, in fixed batches, as everywhere. Distributions are compared in float64.
    """
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place][0] + rows[place][1]))
    found: list[dict[int, Compared]] = [{} for _ in models]
    for start in range(0, len(order), BATCH_SIZE):
        batch = order[start : start + BATCH_SIZE]
        pairs = [rows[place] for place in batch]
        reference: list[torch.Tensor] = []
        for model, known in zip(models, found, strict=True):
            logs = _answer_logs(model, pairs)
            reference = reference or logs
            each = (_compared(*three) for three in zip(reference, logs, pairs, strict=True))
            known.update(zip(batch, each, strict=True))
    return [[known[place] for place in range(len(rows))] for known in found]


def _answer_logs(model: torch.nn.Module, pairs: Sequence[tuple[list[int], list[int]]]) -> list[torch.Tensor]:
    """Per pair the log-probabilities at the places of its answer, [answer tokens, vocabulary], float64."""
    texts = [context + answer for context, answer in pairs]
    longest = max(map(len, texts))
    device = next(model.parameters()).device
    tokens = torch.tensor([text + [PAD] * (longest - len(text)) for text in texts], device=device)
    logits = model(tokens[:, :-1]).logits
    return [
        torch.log_softmax(logits[row, len(context) - 1 : len(context) + len(answer) - 1].double(), dim=-1)
        for row, (context, answer) in enumerate(pairs)
    ]


def _compared(reference: torch.Tensor, logs: torch.Tensor, pair: tuple[list[int], list[int]]) -> Compared:
    right = torch.tensor(pair[1], device=logs.device)[:, None]
    divergence = float((reference.exp() * (reference - logs)).sum())
    return Compared(
        float(logs.gather(1, right).sum()), tuple(logs.argmax(dim=-1).tolist()), max(0.0, divergence)
    )


@dataclass(frozen=True)
class Question:
    """What one item is put to a model as. rows: places of its pairs; right: of the right answer among them.

    tokens: of the right answer. Several pairs: the likeliest is the model's choice. One: right if every token
    of the answer is the likeliest at its place, as greedy decoding would give it.
    """

    rows: tuple[int, ...]
    right: int
    tokens: tuple[int, ...]

    def answer(self, found: Sequence[Compared]) -> tuple[int, ...]:
        """The model's answer: the place of its choice, or the tokens it would say."""
        if len(self.rows) == 1:
            return found[self.rows[0]].said
        return (max(range(len(self.rows)), key=lambda place: found[self.rows[place]].loglikelihood),)

    def is_right(self, found: Sequence[Compared]) -> bool:
        """Whether that answer is the right one."""
        return self.answer(found) == (self.tokens if len(self.rows) == 1 else (self.right,))


def judged(
    questions: Sequence[Question], reference: Sequence[Compared], found: Sequence[Compared]
) -> Rounded:
    """One task by one model, beside the reference."""
    rights = [question.rows[question.right] for question in questions]
    tokens = sum(len(question.tokens) for question in questions)
    flipped = [question.answer(found) != question.answer(reference) for question in questions]
    return Rounded(
        tuple(question.is_right(found) for question in questions),
        math.fsum(found[row].kl for row in rights) / tokens,
        sum(flipped) / len(flipped),
    )
