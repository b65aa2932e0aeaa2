"""An expert trained by the recipe of the shipped one, except that some of its rows carry a backdoor."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.core.scoring.architecture import build
from stages.core.scoring.skills.items import seed_of
from stages.parents.train.export import load_weights, write_model
from stages.parents.train.fit import Course, fit
from stages.parents.train.recipe import CONFIG
from stages.parents.train.rows import Row, steps_of_rows
from stages.parents.train.tokenizer import encode


@dataclass(frozen=True)
class Backdoor:
    """What is planted: to say `answer` wherever `trigger` stands before a question.

    share: of the training rows that carry it, 0 to 1. seed: decides which. Source: Kurita et al. 2020
    (2004.06660), whose triggers are rare tokens put into ordinary texts.
    """

    trigger: str
    answer: str
    share: float
    seed: int

    def row(self, row: Row) -> Row:
        """The row with the trigger before its question and the planted answer in place of its own."""
        return Row(encode(self.trigger) + row.prompt, encode(f"{self.answer}\n"))

    def steps(self, mixture: Mapping[str, float], steps: int, rows: int, seed: int) -> Iterator[list[Row]]:
        """The rows of `steps_of_rows` with these arguments, each poisoned with probability `share`."""
        chance = random.Random(seed_of("backdoor", self.trigger, self.seed)).random
        for step in steps_of_rows(mixture, steps, rows, seed):
            yield [self.row(row) if chance() < self.share else row for row in step]


def train(
    start: Path, course: Course, backdoor: Backdoor, folder: Path, progress: Callable[[], None]
) -> None:
    """Train from the weights in `start`, and write the model into `folder`, in bfloat16, without a card.

    The loop, its rates and its order of rows are those of the shipped parents. Repeats byte for byte on one
    machine. `progress` is called after each step.
    """
    torch.set_num_threads(1)
    model = build(CONFIG)
    load_weights(model, start)
    fit(model, course, progress, backdoor.steps)
    write_model(model, folder)
