"""`generate_until`: the model says what it says, and the judge of the form finds it right or not.

The likelihood is that of the item's answer in the place of what was said.
"""

from collections.abc import Sequence
from typing import Any

from stages.core.errors import BadRequest
from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.engine import Said, Stop
from stages.core.scoring.forms.query import Answer, Query, Task, nats, rounded
from stages.core.scoring.judges import DEFAULT, BadSettings, Judge, judge_of

OUTPUT_TYPE = "generate_until"
MOST = 256  # tokens, where the form says no number: lm-eval's own


def queries(task: Task) -> list[Query]:
    """The prompt of each item, and its answer after that prompt. Raises BadRequest for an unknown judge."""
    _judge(task)
    delimiter = task.lm.config.target_delimiter
    return [
        Query(((request.args[0], f"{delimiter}{item.answer}"),), (request.args[0], _stop(request.args[1])))
        for item, (request,) in zip(task.items, task.requests, strict=True)
    ]


def evidence(task: Task, answers: Sequence[Answer]) -> TaskEvidence:
    """certainty: mean probability of the tokens said; what else the judge measures, 0 or 1. said: after the
    filters of the form.
    """
    judge, said = _judge(task), [answer.said or Said("", 0.0) for answer in answers]
    texts = _filtered(task, [each.text for each in said])
    judged = [judge(text, item) for text, item in zip(texts, task.items, strict=True)]
    measures: dict[str, tuple[float | None, ...]] = {
        "certainty": tuple(rounded(each.certainty) for each in said)
    }
    for name in judged[0].measures if judged else ():
        seen = [judgement.measures[name] for judgement in judged]
        measures[name] = tuple(None if value is None else float(value) for value in seen)
    scored = [answer.scored[0] for answer in answers]
    return TaskEvidence(
        correct=tuple(judgement.correct for judgement in judged),
        loglikelihood=tuple(rounded(nats(each)) for each in scored),
        answer_tokens=tuple(len(each.nats) for each in scored),
        measures=measures,
        said=tuple(texts),
    )


def _judge(task: Task) -> Judge:
    try:
        return judge_of((task.form.get("metadata") or {}).get("judge", DEFAULT))
    except BadSettings as problem:
        raise BadRequest([f"{task.form['task']}.yaml: metadata.judge: {problem}"]) from problem


def _stop(generation: dict[str, Any]) -> Stop:
    until = generation.get("until") or []
    return Stop((until,) if isinstance(until, str) else tuple(until), generation.get("max_gen_toks", MOST))


def _filtered(task: Task, texts: Sequence[str]) -> list[str]:
    """What the first pipeline of lm-eval's filters leaves of each text."""
    docs = [request.doc for (request,) in task.requests]
    responses: Any = [[text] for text in texts]
    for make in task.lm._filters[0].filters:
        responses = make().apply(responses, docs)
    return [
        response if isinstance(response, str) else str(next(iter(response), "")) for response in responses
    ]
