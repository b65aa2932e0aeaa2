"""Exact match of a model, skill by skill, as greedy decoding would score it."""

import torch

from stages.core.scoring.skills import TAUGHT, draw
from stages.parents.train.fit import answer_logits
from stages.parents.train.rows import padded, row_of

CHUNK = 50  # rows a forward pass


@torch.no_grad()
def exact_match(model: torch.nn.Module, skill: str, *, split: str, count: int, seed: int) -> float:
    """Share of items, 0 to 1, whose every answer token is the model's first choice after the tokens before.

    That is the same event as a greedy continuation equal to the answer.
    """
    rows = [row_of(item) for item in draw(skill, split, count, seed)]
    right = 0
    for start in range(0, count, CHUNK):
        batch = padded(rows[start : start + CHUNK])
        logits, targets = answer_logits(model, batch)
        wrong = torch.zeros_like(batch.answers[:, 1:])
        wrong[batch.answers[:, 1:]] = logits.argmax(-1) != targets
        right += int((~wrong.any(1)).sum())
    return right / count


def scores(model: torch.nn.Module, *, split: str, count: int, seed: int) -> dict[str, float]:
    """Exact match of every taught skill, rounded to 3 places, in the order of TAUGHT."""
    names = [skill.name for skill in TAUGHT]
    return {name: round(exact_match(model, name, split=split, count=count, seed=seed), 3) for name in names}
