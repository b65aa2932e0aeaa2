"""`loglikelihood`: right when greedy decoding would give the whole answer."""

from collections.abc import Sequence

from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.forms.query import Answer, Query, Task, nats, rounded

OUTPUT_TYPE = "loglikelihood"


def queries(task: Task) -> list[Query]:
    """Prompt and answer of each item."""
    return [Query(tuple(request.args for request in requests)) for requests in task.requests]


def evidence(_: Task, answers: Sequence[Answer]) -> TaskEvidence:
    """certainty: the largest probability of the first token, whichever it is."""
    scored = [answer.scored[0] for answer in answers]
    return TaskEvidence(
        correct=tuple(each.greedy for each in scored),
        loglikelihood=tuple(rounded(nats(each)) for each in scored),
        answer_tokens=tuple(len(each.nats) for each in scored),
        measures={"certainty": tuple(rounded(each.peak) for each in scored)},
    )
