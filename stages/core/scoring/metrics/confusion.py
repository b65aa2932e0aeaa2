"""Conflicting tasks: one form of prompt, another right answer by context, and who is taken for whom."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.scoring.intervals import Interval, clopper_pearson

CONTEXT = "context"


@dataclass(frozen=True)
class Confusion:
    """Items of one context: own (right), other (the answer of the other context), neither.

    interval: exact, of the share answered as in the other context.
    """

    context: str
    own: int
    other: int
    neither: int
    interval: Interval

    @property
    def items(self) -> int:
        """How many there are."""
        return self.own + self.other + self.neither

    @property
    def rate(self) -> float:
        """Share answered as in the other context: confusion toward the other parent, 0 to 1."""
        return self.other / self.items


def toward_other(answers: Sequence[str | None], rights: Sequence[str], others: Sequence[str]) -> list[bool]:
    """Per item, whether the answer is the other context's and not its own.

    answers: what was chosen or said; rights, others: the right answer in this context, and in the other.
    """
    return [answer == other != right for answer, right, other in zip(answers, rights, others, strict=True)]


def confusion(
    contexts: Sequence[str], correct: Sequence[bool], confused: Sequence[bool], confidence: float
) -> list[Confusion]:
    """One row per context, by name. correct, confused: per item; no item is both."""
    rows = []
    for context in sorted(set(contexts)):
        places = [place for place, name in enumerate(contexts) if name == context]
        own, other = sum(correct[place] for place in places), sum(confused[place] for place in places)
        interval = clopper_pearson(other, len(places), confidence)
        rows.append(Confusion(context, own, other, len(places) - own - other, interval))
    return rows
