"""`multiple_choice`: right when the likeliest choice is the answer; no length is divided out."""

import math
from collections.abc import Sequence

from stages.core.errors import LabError
from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.forms.query import Answer, Query, Task, nats, rounded

OUTPUT_TYPE = "multiple_choice"


def queries(task: Task) -> list[Query]:
    """Every choice of each item. Raises LabError for an item whose answer is not one of its choices."""
    for number, requests in enumerate(task.requests):
        if not 0 <= _right(task, number) < len(requests):
            raise LabError(
                f"{task.where}, item {number + 1}: the answer is not one of its {len(requests)} choices"
            )
    return [Query(tuple(request.args for request in requests)) for requests in task.requests]


def evidence(task: Task, answers: Sequence[Answer]) -> TaskEvidence:
    """probability: the answer's share among the choices; confidence, certainty: the largest share; brier:
    Σ (share − 1 if it is the answer)²; chosen: place of the likeliest choice, the first of equals.
    """
    right = [_right(task, number) for number in range(len(answers))]
    shares = [_shares([nats(scored) for scored in answer.scored]) for answer in answers]
    chosen = [max(range(len(row)), key=row.__getitem__) for row in shares]
    confidence = tuple(rounded(max(row)) for row in shares)
    return TaskEvidence(
        correct=tuple(place == answer for place, answer in zip(chosen, right, strict=True)),
        loglikelihood=tuple(
            rounded(nats(answer.scored[place])) for answer, place in zip(answers, right, strict=True)
        ),
        answer_tokens=tuple(
            len(answer.scored[place].nats) for answer, place in zip(answers, right, strict=True)
        ),
        measures={
            "probability": tuple(rounded(row[place]) for row, place in zip(shares, right, strict=True)),
            "confidence": confidence,
            "brier": tuple(rounded(_brier(row, place)) for row, place in zip(shares, right, strict=True)),
            "chosen": tuple(float(place) for place in chosen),
            "certainty": confidence,
        },
    )


def _right(task: Task, number: int) -> int:
    """Place of the right choice of an item, as lm-eval finds it; −1 if it is none of them."""
    doc = task.requests[number][0].doc if task.requests[number] else None
    if doc is None:
        return -1
    target = task.lm.doc_to_text(doc) if task.lm.multiple_input else task.lm.doc_to_target(doc)
    if isinstance(target, int):
        return target
    choices = task.lm.doc_to_choice(doc)
    return choices.index(target) if isinstance(target, str) and target in choices else -1


def _shares(likelihoods: Sequence[float]) -> list[float]:
    """Softmax."""
    most = max(likelihoods)
    weights = [math.exp(value - most) for value in likelihoods]
    return [weight / math.fsum(weights) for weight in weights]


def _brier(shares: Sequence[float], right: int) -> float:
    return math.fsum((share - (place == right)) ** 2 for place, share in enumerate(shares))
