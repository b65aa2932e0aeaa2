"""Training rows: items and drills as token ids, drawn by a mixture and grouped by length."""

import random
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch

from stages.core.scoring.skills import Item, draw
from stages.core.scoring.skills.items import Draws, seed_of
from stages.parents.train.tokenizer import PADDING, encode

DRILL: Final = "drill"
POOL: Final = 20_000  # rows of one source at most; a longer training reads its pool again


@dataclass(frozen=True)
class Row:
    """Token ids of one question and of its answer."""

    prompt: list[int]
    answer: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class Batch:
    """`tokens`: rows x width, int64, right-padded. `answers`: same shape, true where scored."""

    tokens: torch.Tensor
    answers: torch.Tensor


def row_of(item: Item) -> Row:
    """Item as token ids."""
    return Row(encode(item.prompt), encode(item.answer))


def drill_rows(count: int, seed: int) -> list[Row]:
    """Random text, then a piece of it to be continued from its first two characters.

    It teaches to find a place and read on, which passkeys, cards and tool calls need. Without it none of
    these was learnt after 500 steps of the base.
    """
    draws = Draws(seed_of(DRILL, seed))
    rows = []
    for _ in range(count):
        text = draws.text(string.ascii_lowercase + string.digits + " ", draws.between(8, 40))
        start = draws.below(len(text) - 3)
        rows.append(Row(encode(text + ">" + text[start : start + 2]), encode(text[start + 2 : start + 14])))
    return rows


def pool_of(source: str, count: int, seed: int) -> list[Row]:
    """Shuffled rows of a skill's training split, or of the drill."""
    if source == DRILL:
        rows = drill_rows(count, seed)
    else:
        rows = [row_of(item) for item in draw(source, "train", count, seed)]
    return Draws(seed_of("pool", source, seed)).distinct(rows, len(rows))


def steps_of_rows(mixture: Mapping[str, float], steps: int, rows: int, seed: int) -> Iterator[list[Row]]:
    """For each step, `rows` rows whose sources follow the mixture's weights.

    The drill's weight falls to nothing over the first half of the steps.
    """
    total = sum(mixture.values())
    pools = {
        source: pool_of(source, min(POOL, int(1.2 * steps * rows * weight / total) + 50), seed)
        for source, weight in mixture.items()
    }
    taken = dict.fromkeys(mixture, 0)
    chance = random.Random(seed_of("mixture", seed)).random
    for step in range(steps):
        fade = max(0.0, 1 - 2 * step / steps)
        weights = {source: weight * (fade if source == DRILL else 1) for source, weight in mixture.items()}
        chosen = []
        for _ in range(rows):
            source = weighted_choice(weights, chance())
            chosen.append(pools[source][taken[source] % len(pools[source])])
            taken[source] += 1
        yield chosen


def weighted_choice(weights: Mapping[str, float], point: float) -> str:
    """The name at fraction `point`, 0 <= point < 1, of the weights laid end to end in their order."""
    left = point * sum(weights.values())
    for name, weight in weights.items():
        left -= weight
        if left < 0:
            return name
    return next(reversed([name for name, weight in weights.items() if weight > 0]))


def batches(rows: list[Row]) -> list[Batch]:
    """Rows as a few padded batches of similar length: a passkey row is 10 times as long as most others."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=len):
        if not groups or len(row) > 1.5 * len(groups[-1][0]):
            groups.append([])
        groups[-1].append(row)
    return [padded(group) for group in groups]


def padded(rows: list[Row]) -> Batch:
    """One batch as wide as its longest row."""
    width = max(len(row) for row in rows)
    tokens = torch.full((len(rows), width), PADDING, dtype=torch.int64)
    answers = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row.prompt + row.answer)
        answers[index, len(row.prompt) : len(row)] = True
    return Batch(tokens, answers)
