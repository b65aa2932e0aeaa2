"""The training loop: answers alone are learnt, on one thread, from seeded rows."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import torch

from stages.parents.train.optimiser import Optimiser
from stages.parents.train.rows import Batch, Row, batches, steps_of_rows

Steps: TypeAlias = Callable[[Mapping[str, float], int, int, int], Iterable[list[Row]]]
"""Rows of each step, of a mixture, a number of steps, rows a step and a seed (rows.steps_of_rows)."""

WARM_UP: Final = 20  # steps
WEIGHT_DECAY: Final = 0.05
FLOOR: Final = 0.05  # share of the rate that is left at the end of the cosine


@dataclass(frozen=True)
class Course:
    """What one model is trained on and how hard.

    `mixture`: weight of each skill (or the drill) among the rows. `rows`: rows a step. Rates are peaks.
    """

    seed: int
    steps: int
    rows: int
    rate_adamw: float
    rate_muon: float
    mixture: Mapping[str, float]


def initialise(model: torch.nn.Module, seed: int, *, layers: int) -> None:
    """Overwrite every parameter: normal matrices, unit norms.

    What a block writes back into the residual stream is scaled by 1/sqrt(2 layers).
    Source of the scaling: Radford et al. 2019 (GPT-2), section 2.3.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                parameter.fill_(1.0)
                continue
            deviation = 0.02 / math.sqrt(2 * layers) if "o_proj" in name or "down_proj" in name else 0.02
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)


def answer_logits(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (answer tokens x vocabulary, float32) and the right token ids, for every answer token.

    Padding stands on the right, so that causal attention never reads it and no mask is needed.
    """
    scored = batch.answers[:, 1:]
    logits = model(input_ids=batch.tokens[:, :-1], use_cache=False).logits
    return logits[scored], batch.tokens[:, 1:][scored]


def fit(
    model: torch.nn.Module, course: Course, progress: Callable[[], None], draw: Steps = steps_of_rows
) -> None:
    """Train `model` in place; `progress` is called after each step. draw: the rows of each step.

    Repeats byte for byte on one machine with one thread. The loss is the mean over a step's answer tokens.
    """
    optimiser = Optimiser(model, weight_decay=WEIGHT_DECAY)
    model.train()
    for step, rows in enumerate(draw(course.mixture, course.steps, course.rows, course.seed)):
        cosine = 0.5 * (1 + math.cos(math.pi * step / course.steps))
        share = min(1.0, (step + 1) / WARM_UP) * (FLOOR + (1 - FLOOR) * cosine)
        answer_tokens = sum(len(row.answer) for row in rows)
        optimiser.clear()
        for batch in batches(rows):
            logits, targets = answer_logits(model, batch)
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / answer_tokens
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step(rate_adamw=share * course.rate_adamw, rate_muon=share * course.rate_muon)
        progress()
    model.eval()
