"""A cascade: the parents are asked one after the other, until one is sure enough of its answer.

How sure is enough is a threshold τ set by conformal risk control (Angelopoulos et al. 2022, arXiv 2208.02814)
on the calibration split. The loss of an item at τ is 1 if the cascade stopped early at a wrong answer that a
later parent would have corrected, else 0; a higher τ asks more, so the loss falls to 0, and it is made
monotone, as the paper has it, where three parents or more could make it rise. With n items the least τ with
(n · mean loss + 1) / (n + 1) ≤ α keeps the expected loss of a new item of the same mix at most α.
"""

import math
from collections.abc import Sequence
from typing import Final

from stages.core.errors import LabError

RULE: Final = "cascade/1"  # version of all here that can move a choice
NEVER_ASKS: Final = -1.0  # under every certainty: the first parent answers all
ALWAYS_ASKS: Final = 1.0  # no certainty is above it: the last parent answers all


def order(accuracies: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """The places of the parents, the one to be asked first in front: by mean accuracy over the tasks.

    accuracies[parent][task], of the search split. Of equals the first stays in front.
    """
    means = [sum(tasks) / len(tasks) for tasks in accuracies]
    return tuple(sorted(range(len(means)), key=lambda place: -means[place]))


def stops(certainty: Sequence[Sequence[float | None]], threshold: float) -> tuple[int, ...]:
    """Per item the place of the parent that answers: the first with a certainty above τ, else the last.

    certainty[parent][item], parents in the order asked. None, where a form has none, asks nobody else:
    nothing speaks against the answer that is there.
    """
    last = len(certainty) - 1
    return tuple(
        next((place for place, sure in enumerate(column[:last]) if sure is None or sure > threshold), last)
        for column in zip(*certainty, strict=True)
    )


def threshold(certainty: Sequence[Sequence[float]], correct: Sequence[Sequence[bool]], risk: float) -> float:
    """The least τ whose risk is controlled at level `risk`, α in (0, 1). Pass the calibration split.

    certainty, correct: [parent][item], parents in the order asked. NEVER_ASKS, one of the certainties, or
    ALWAYS_ASKS: with fewer than 1/α − 1 items nothing less than always asking the last parent is safe.
    Raises LabError for a level outside (0, 1) or without items.
    """
    items = len(correct[0]) if correct else 0
    if not 0 < risk < 1 or not items:
        raise LabError(f"a cascade needs a risk between 0 and 1 and calibration items; got {risk}, {items}.")
    allowed = math.floor(risk * (items + 1) - 1 + 1e-9)  # losses of 1; the product is rounded
    if allowed < 0:
        return ALWAYS_ASKS
    lost_below = sorted((_lost_below(item, certainty, correct) for item in range(items)), reverse=True)
    return lost_below[allowed] if allowed < items else NEVER_ASKS


def _lost_below(item: int, certainty: Sequence[Sequence[float]], correct: Sequence[Sequence[bool]]) -> float:
    """The τ from which on the item's loss is 0, however high; under it the loss, made monotone, is 1."""
    found, before = NEVER_ASKS, NEVER_ASKS
    for place, column in enumerate(certainty[:-1]):
        sure = column[item]
        stopped = sure > before  # for a τ between them the cascade ends here
        if stopped and not correct[place][item] and any(later[item] for later in correct[place + 1 :]):
            found = sure
        before = max(before, sure)
    return found


def passes(stopped: Sequence[int]) -> float:
    """Mean number of parents asked: forward passes a token, if each reads prompt and answer."""
    return sum(place + 1 for place in stopped) / len(stopped)
