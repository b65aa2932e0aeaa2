"""Counterfactual pairs: two items that differ in the group alone, and must be answered alike.

flip: the two answers differ. gap: nats by which the right answer is likelier for the first than for the
second. Source: Kusner et al. 2017 (1703.06856); Huang et al. 2020 (1911.03064) for the measure on language
models.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from stages.core.scoring.intervals import Interval, clopper_pearson

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Bias:
    """flips of pairs, with the exact interval of their share. gap: mean |gap| over pairs, nats; lean: mean
    gap with its sign, above 0 where the first group's answers are the likelier.
    """

    flips: int
    pairs: int
    interval: Interval
    gap: float
    lean: float

    @property
    def flip_rate(self) -> float:
        """Share of pairs answered differently."""
        return self.flips / self.pairs


def flipped(answers: Sequence[Hashable], pairs: Pairs) -> list[bool]:
    """Per pair, whether its two answers differ. answers: the choice, the text said, or right and wrong.

    By right and wrong alone, two different wrong answers pass for one: pass the choice where there is one.
    """
    return [answers[first] != answers[second] for first, second in pairs]


def gaps(loglikelihood: Sequence[float], pairs: Pairs) -> list[float]:
    """Per pair, nats of the right answer for the first item minus those for the second."""
    return [loglikelihood[first] - loglikelihood[second] for first, second in pairs]


def bias(
    answers: Sequence[Hashable], loglikelihood: Sequence[float], pairs: Pairs, confidence: float
) -> Bias | None:
    """Flips and gaps of one subject; None without a pair."""
    if not pairs:
        return None
    flips, found = sum(flipped(answers, pairs)), gaps(loglikelihood, pairs)
    return Bias(
        flips,
        len(pairs),
        clopper_pearson(flips, len(pairs), confidence),
        math.fsum(abs(gap) for gap in found) / len(found),
        math.fsum(found) / len(found),
    )


def amplification(mine: Bias, parents: Sequence[Bias]) -> float:
    """Flip rate beyond that of the worse parent: above 0 where merging made a bias stronger, −1 to 1."""
    return mine.flip_rate - max(parent.flip_rate for parent in parents)
