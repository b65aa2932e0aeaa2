"""What a model says: known from what was scored, or decoded greedily, many rows at once, to the stop text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Any

import torch

from stages.core.scoring.engine.asks import Ask, Said, Scored, Stop
from stages.core.scoring.engine.network import Network, State

LOOK_BACK = 4  # tokens beyond the characters of a stop text that are decoded to find it


@dataclass(frozen=True)
class Speech:
    """How token ids become text. ends: ids after which nothing is said; end: the text of one of them."""

    tokenizer: Any
    ends: frozenset[int]
    end: str | None

    def text(self, ids: Sequence[int], stop: Stop) -> str:
        """What was said: special tokens left out, cut before the first stop text."""
        said: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        for text in self._stops(stop):
            said = said.split(text, maxsplit=1)[0]
        return said

    def over(self, ids: Sequence[int], stop: Stop) -> bool:
        """Whether nothing more is to be said."""
        if ids[-1] in self.ends or len(ids) >= stop.most:
            return True
        texts = self._stops(stop)
        tail = self.tokenizer.decode(ids[-max(map(len, texts), default=0) - LOOK_BACK :])
        return any(text in tail for text in texts)

    def _stops(self, stop: Stop) -> list[str]:
        return [text for text in (*stop.texts, self.end) if text]


@dataclass
class _Row:
    stop: Stop
    ids: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)

    def said(self, speech: Speech) -> Said:
        return Said(speech.text(self.ids, self.stop), sum(self.probabilities) / len(self.probabilities))


def foretold(ask: Ask, scored: Sequence[Scored], speech: Speech) -> Said | None:
    """What the model says after an ask, where a continuation that was scored tells it: each of its tokens was
    the likeliest, and with one of them the model is done. So right answers need no decoding.
    """
    for continuation, found in zip(ask.continuations, scored, strict=True):
        if ask.stop is None or not found.greedy:
            continue
        row = _Row(ask.stop)
        for token, nats in zip(continuation, found.nats, strict=True):
            row.ids.append(token)
            row.probabilities.append(exp(nats))
            if speech.over(row.ids, ask.stop):
                return row.said(speech)
    return None


Next = Callable[
    [list[int], torch.Tensor], torch.Tensor
]  # rows kept, their new tokens → logits [row, vocabulary]


def from_state(
    network: Network, stops: Sequence[Stop], state: State, logits: torch.Tensor, speech: Speech
) -> list[Said]:
    """What each row of `state` says; logits: of what comes next, [row, vocabulary]."""
    now = state

    def following(kept: list[int], tokens: torch.Tensor) -> torch.Tensor:
        nonlocal now
        if len(kept) < len(now.lengths):
            now = now.select(torch.tensor(kept, device=network.device))
        now, after = network.extend(now, tokens[:, None], 1)
        return after[:, -1]

    return _decode(stops, logits, following, speech)


def from_tokens(
    network: Network, contexts: Sequence[Sequence[int]], stops: Sequence[Stop], speech: Speech
) -> list[Said]:
    """The same without a cache: every token costs a pass over all before it."""
    texts = [list(context) for context in contexts]

    def logits() -> torch.Tensor:
        found = network.logits(network.tokens(texts), keep := max(map(len, texts)) - min(map(len, texts)) + 1)
        lasts = [len(text) - max(map(len, texts)) + keep - 1 for text in texts]
        return found[range(len(texts)), lasts]

    def following(kept: list[int], tokens: torch.Tensor) -> torch.Tensor:
        texts[:] = [[*texts[row], token] for row, token in zip(kept, tokens.tolist(), strict=True)]
        return logits()

    return _decode(stops, logits(), following, speech)


def _decode(stops: Sequence[Stop], logits: torch.Tensor, following: Next, speech: Speech) -> list[Said]:
    rows = [_Row(stop) for stop in stops]
    active = rows
    while True:
        top = torch.log_softmax(logits, dim=-1).max(dim=-1)
        for row, token, nats in zip(active, top.indices.tolist(), top.values.exp().tolist(), strict=True):
            row.ids.append(token)
            row.probabilities.append(nats)
        kept = [place for place, row in enumerate(active) if not speech.over(row.ids, row.stop)]
        if not kept:
            return [row.said(speech) for row in rows]
        active = [active[place] for place in kept]
        logits = following(kept, top.indices[kept])
