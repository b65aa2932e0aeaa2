"""What one item asks of a model, as text, and the answer to it; what each form is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stages.core.records.evidence import DIGITS, TaskEvidence
from stages.core.scoring.engine import Said, Scored, Stop
from stages.core.scoring.skills.items import Item


@dataclass(frozen=True)
class Query:
    """pairs: (context, continuation) to be scored. prompt: what is to be continued, and until when. text:
    what is to be scored from its first token on.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    prompt: tuple[str, Stop] | None = None
    text: str | None = None


@dataclass(frozen=True)
class Answer:
    """scored: one for each pair, then one for each window of the text; said: after the prompt."""

    scored: tuple[Scored, ...]
    said: Said | None = None


@dataclass(frozen=True)
class Task:
    """One task file over one case file. requests: what lm-eval asks, per item; lm: its own task."""

    name: str
    form: Mapping[str, Any]
    items: Sequence[Item]
    requests: Sequence[Sequence[Any]]
    lm: Any

    @property
    def where(self) -> str:
        """For messages."""
        return f"task {self.name!r}"


class Form(Protocol):
    """A module for one output type of lm-eval."""

    OUTPUT_TYPE: str

    def queries(self, task: Task) -> list[Query]:
        """One query for each item. Raises LabError or BadRequest for a task that cannot be asked so."""

    def evidence(self, _: Task, answers: Sequence[Answer], /) -> TaskEvidence:
        """What the answers, one for each item, say."""


def rounded(value: float) -> float:
    """To the digits of evidence; a rounded −0.0 becomes 0.0."""
    return round(value, DIGITS) + 0.0


def nats(scored: Scored) -> float:
    """Log-likelihood of a whole continuation."""
    return sum(scored.nats)
