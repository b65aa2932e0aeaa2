"""Answers of a subject that lets one of several models answer each item: which one, and what it then said.

Nothing is run: the answers are those that the models gave themselves. Members are in one order throughout.
"""

from collections.abc import Sequence
from typing import Final

from stages.core.records.evidence import TaskEvidence

CERTAINTY: Final = "certainty"  # of evidence's measures: how sure a model was, known without the right answer


def picked(members: Sequence[TaskEvidence], chosen: Sequence[int]) -> TaskEvidence:
    """The answers to one task where item i was answered by `members[chosen[i]]`.

    Measures are those that every member has; `said` is kept if every member says something.
    """
    rows = list(enumerate(chosen))
    shared = [name for name in members[0].measures if all(name in member.measures for member in members)]
    texts = [member.said for member in members if member.said is not None]
    return TaskEvidence(
        tuple(members[member].correct[item] for item, member in rows),
        tuple(members[member].loglikelihood[item] for item, member in rows),
        tuple(members[member].answer_tokens[item] for item, member in rows),
        {name: tuple(members[member].measures[name][item] for item, member in rows) for name in shared},
        tuple(texts[member][item] for item, member in rows) if len(texts) == len(members) else None,
    )


def right_one(members: Sequence[TaskEvidence]) -> tuple[int, ...]:
    """Per item the member that answers right; of several, or of none, the one that finds the right answer
    likeliest; then the first. It knows the right answers: a label to learn from, or a bound.
    """
    return tuple(
        max(
            range(len(members)), key=lambda place: (members[place].correct[item], _nats(members, place, item))
        )
        for item in range(len(members[0].correct))
    )


def certainties(members: Sequence[TaskEvidence]) -> list[list[float | None]] | None:
    """Per member and item the certainty, 0 to 1; None where a form has none. None if a member says none."""
    if not all(CERTAINTY in member.measures for member in members):
        return None
    return [list(member.measures[CERTAINTY]) for member in members]


def surest(certainty: Sequence[Sequence[float | None]]) -> tuple[int, ...]:
    """Per item the member with the largest certainty; the first of equals, and where nobody says any."""
    return tuple(
        max(range(len(certainty)), key=lambda place: -1.0 if (sure := column[place]) is None else sure)
        for column in zip(*certainty, strict=True)
    )


def _nats(members: Sequence[TaskEvidence], place: int, item: int) -> float:
    return members[place].loglikelihood[item]
