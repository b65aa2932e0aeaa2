"""Queries in text become asks in token ids: whatever is asked after one context is asked together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.core.errors import LabError
from stages.core.scoring.encoding import encode, encode_pair, windows
from stages.core.scoring.engine import Ask, Reply, Stop
from stages.core.scoring.forms.query import Answer, Query

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """Where the answer to one query is: (ask, continuation) of what is scored, and the ask that speaks."""

    scored: tuple[tuple[int, int], ...]
    speaks: int | None

    def answer(self, found: Sequence[Reply]) -> Answer:
        """The answer to the query, from the replies to all asks."""
        said = None if self.speaks is None else found[self.speaks].said
        return Answer(tuple(found[ask].scored[number] for ask, number in self.scored), said)


@dataclass(frozen=True)
class Asked:
    """All asks, and for each task the parts that its queries have in them."""

    asks: Sequence[Ask]
    parts: Mapping[str, Sequence[Part]]


def put(queries: Mapping[str, Sequence[Query]], tokenizer: Any, longest: int) -> Asked:
    """Task → queries in the token ids of one tokenizer.

    Raises LabError for a query that is longer than the context, `longest` tokens: lm-eval would cut its
    beginning.
    """
    builder = _Builder(tokenizer, longest)
    parts = {task: [builder.part(query) for query in asked] for task, asked in queries.items()}
    asks = [Ask(draft.context, tuple(draft.continuations), draft.stop) for draft in builder.drafts]
    return Asked(asks, parts)


def fits(tokens: int, longest: int, text: str) -> None:
    """Raises LabError if so many tokens, of which the last is only scored, are too long an input."""
    if tokens > longest + 1:
        raise LabError(
            f"a case has {tokens} tokens, the context {longest}: shorten the case that begins {text[:40]!r}"
        )


@dataclass
class _Draft:
    context: Tokens
    continuations: list[Tokens] = field(default_factory=list)
    stop: Stop | None = None


class _Builder:
    """Asks under construction; `drafts` in the order of their first query."""

    def __init__(self, tokenizer: Any, longest: int) -> None:
        self._tokenizer, self._longest = tokenizer, longest
        self._places: dict[Tokens, int] = {}
        self.drafts: list[_Draft] = []

    def part(self, query: Query) -> Part:
        scored = []
        for before, after in query.pairs:
            context, continuation = encode_pair(self._tokenizer, before, after)
            fits(len(context) + len(continuation), self._longest, before)
            scored.append(self._score(self._shared(tuple(context)), tuple(continuation)))
        if query.text is not None:
            for context, continuation in windows(self._tokenizer, query.text, self._longest):
                scored.append(self._score(self._new(tuple(context)), tuple(continuation)))
        return Part(tuple(scored), None if query.prompt is None else self._speak(*query.prompt))

    def _speak(self, prompt: str, stop: Stop) -> int:
        """The ask that says what follows the prompt, as much as the context has room for."""
        context = tuple(encode(self._tokenizer, prompt))
        fits(len(context) + 2, self._longest, prompt)
        stop = Stop(stop.texts, min(stop.most, self._longest - len(context)))
        place = self._shared(context)
        if self.drafts[place].stop not in (None, stop):
            place = self._new(context)
        self.drafts[place].stop = stop
        return place

    def _score(self, place: int, continuation: Tokens) -> tuple[int, int]:
        known = self.drafts[place].continuations
        if continuation not in known:
            known.append(continuation)
        return place, known.index(continuation)

    def _shared(self, context: Tokens) -> int:
        if context not in self._places:
            self._places[context] = self._new(context)
        return self._places[context]

    def _new(self, context: Tokens) -> int:
        self.drafts.append(_Draft(context))
        return len(self.drafts) - 1
