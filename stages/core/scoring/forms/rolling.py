"""`loglikelihood_rolling`: how likely a text is from its first token on; nothing is right or wrong."""

from collections.abc import Iterator, Sequence

from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.forms.query import Answer, Query, Task, nats, rounded

OUTPUT_TYPE = "loglikelihood_rolling"
FIRST = 64  # tokens of the first bucket of positions; each later one doubles where the text has got to


def queries(task: Task) -> list[Query]:
    """The text of each item."""
    return [Query(text=requests[0].args[0]) for requests in task.requests]


def evidence(_: Task, answers: Sequence[Answer]) -> TaskEvidence:
    """nats@<from>, tokens@<from>: summed negative log-likelihood and number of the tokens with at least so
    many tokens before them in the model's context, up to the next bucket's; None where a text has none.
    """
    tokens = [list(_tokens(answer)) for answer in answers]
    longest = max((place for row in tokens for place, _ in row), default=0)
    measures: dict[str, tuple[float | None, ...]] = {}
    for start, end in _buckets(longest):
        inside = [[value for place, value in row if start <= place < end] for row in tokens]
        measures[f"nats@{start}"] = tuple(rounded(-sum(values)) if values else None for values in inside)
        measures[f"tokens@{start}"] = tuple(float(len(values)) if values else None for values in inside)
    return TaskEvidence(
        correct=tuple(False for _ in answers),
        loglikelihood=tuple(rounded(sum(nats(window) for window in answer.scored)) for answer in answers),
        answer_tokens=tuple(len(row) for row in tokens),
        measures=measures,
    )


def _tokens(answer: Answer) -> Iterator[tuple[int, float]]:
    """(tokens of the text that stand before it in its window, nats) of each token of a text.

    A window after the first, full one reaches back into the text, so that it is full too.
    """
    full = len(answer.scored[0].nats)
    for number, window in enumerate(answer.scored):
        before = full + 1 - len(window.nats) if number else 0
        yield from enumerate(window.nats, start=before)


def _buckets(longest: int) -> Iterator[tuple[int, int]]:
    start, end = 0, FIRST
    while start <= longest:
        yield start, end
        start, end = end, end * 2
