"""Mean of the ingredients that a greedy selection kept, and that selection as a function of a score.

A recipe states what was kept and each ingredient's score: the merge reads no data. `select` is run before,
by whoever holds the selection split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.core.weights.method import Method, Options, Parameter, Slice, Statistics, numbers
from stages.core.weights.methods.linear import weighted_sum
from stages.core.weights.numerics import float32

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One ingredient tried. score: of the soup with it; kept: whether it stayed."""

    ingredient: int
    score: float
    kept: bool


def select(scores: Sequence[float], score: Callable[[tuple[int, ...]], float]) -> tuple[Step, ...]:
    """Try ingredients from the best score down; one stays if the soup's score does not fall.

    scores: of each ingredient alone, greater is better; equals are tried in listed order. score: of the
    uniform mean of some ingredients, given by place in listed order. The best is kept without a call. The
    result is never below the best single ingredient on the split that `score` reads; on another it may be.
    """
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    steps = [Step(order[0], scores[order[0]], True)]
    best = steps[0].score
    for place in order[1:]:
        trial = tuple(sorted([step.ingredient for step in steps if step.kept] + [place]))
        found = score(trial)
        steps.append(Step(place, found, found >= best))
        best = max(best, found)
    return tuple(steps)


def kept(steps: Sequence[Step]) -> tuple[float, ...]:
    """The recipe's `kept`, in listed order: 1.0 for an ingredient that stayed, else 0.0."""
    stayed = {step.ingredient: float(step.kept) for step in steps}
    return tuple(stayed[place] for place in range(len(steps)))


def check(options: Options) -> list[str]:
    """Sentences if `kept` is no yes or no, or leaves out the best ingredient, which no selection does."""
    stays, scores = numbers(options, "kept"), numbers(options, "scores")
    if any(one not in (0.0, 1.0) for one in stays):
        return [f"kept: expected 0 or 1 for each parent, got {list(stays)}"]
    best = max(scores)
    if not any(one for one, score in zip(stays, scores, strict=True) if score == best):
        return [f"kept: the ingredient with the best score, {best:g}, is always kept"]
    return []


def coefficients(options: Options) -> Options:
    """`shares`: one over how many were kept, and 0 for the others."""
    stays = numbers(options, "kept")
    return {"shares": tuple(float32(one / sum(stays)) for one in stays)}


def block(given: Slice, options: Options, statistics: Statistics) -> "Tensor":
    """The mean of the kept slices. The others are left out, not multiplied by zero."""
    del statistics
    pairs = [pair for pair in zip(given.tensors, numbers(options, "shares"), strict=True) if pair[1]]
    return weighted_sum([tensor for tensor, _ in pairs], [share for _, share in pairs])


METHOD = Method(
    name="greedy_soup",
    version=1,
    source="arXiv 2203.05482",
    space="weight",
    parameters=(
        Parameter("kept", "per_parent", 1.0, "1 for an ingredient that the selection kept, else 0", high=1.0),
        Parameter("scores", "per_parent", 0.0, "score alone, on the selection split", low=-1e9, high=1e9),
    ),
    coefficients=coefficients,
    block=block,
    check=check,
)
