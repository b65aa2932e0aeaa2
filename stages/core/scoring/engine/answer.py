"""Replies of one model to all asks, batch by batch."""

from collections.abc import Sequence

import torch

from stages.core.scoring.engine import decoding, likelihoods
from stages.core.scoring.engine.asks import Ask, Reply, Said, Scored, Stop
from stages.core.scoring.engine.batches import Branching, Tokens, Whole, plan
from stages.core.scoring.engine.decoding import Speech
from stages.core.scoring.engine.network import Mode, Network, State

ROWS = 32  # that are decoded at once without a cache


@torch.inference_mode()
def replies(network: Network, asks: Sequence[Ask], speech: Speech | None) -> list[Reply]:
    """One reply per ask, in order; the same whenever the same asks are put. speech: if any ask has a stop."""
    run = _Run(network, asks, speech)
    for batch in plan(asks, cached=network.mode is not Mode.PLAIN, aligned=network.mode is Mode.ALIGNED):
        start = run.trunk(batch.trunk)
        if isinstance(batch, Whole):
            run.whole(batch, start)
        else:
            run.branching(batch, start)
    if network.mode is Mode.PLAIN:
        run.speak()
    return [
        Reply(
            tuple(run.scored[place, number] for number in range(len(ask.continuations))), run.said.get(place)
        )
        for place, ask in enumerate(asks)
    ]


class _Run:
    """Replies so far, and the state after the last trunk."""

    def __init__(self, network: Network, asks: Sequence[Ask], speech: Speech | None) -> None:
        self._network, self._asks, self._speech = network, asks, speech
        self._trunk: tuple[Tokens, State | None] = ((), None)
        self.scored: dict[tuple[int, int], Scored] = {}
        self.said: dict[int, Said] = {}

    def trunk(self, tokens: Tokens) -> State | None:
        """The state after a trunk; its batches follow each other."""
        if tokens != self._trunk[0]:
            self._trunk = (tokens, self._network.read([tokens], None)[0] if tokens else None)
        return self._trunk[1]

    def whole(self, batch: Whole, start: State | None) -> None:
        """Score rows of one continuation each."""
        skip = len(batch.trunk)
        rows = [
            (self._asks[place].context[skip:], self._asks[place].continuations[n]) for place, n in batch.rows
        ]
        self.scored |= zip(batch.rows, likelihoods.whole(self._network, rows, start), strict=True)

    def branching(self, batch: Branching, start: State | None) -> None:
        """Score all continuations of some contexts, and let the model say what it says after them."""
        skip = len(batch.trunk)
        asks = [self._asks[place] for place in batch.asks]
        state, logits = self._network.read([ask.context[skip:] for ask in asks], start)
        scored = likelihoods.branches(self._network, asks, state, logits)
        for place, found in zip(batch.asks, scored, strict=True):
            self.scored |= {(place, number): each for number, each in enumerate(found)}
        speaking = [row for row, place in enumerate(batch.asks) if self._to_be_said(place)]
        if speaking and self._speech is not None:
            rows = torch.tensor(speaking, device=logits.device)
            stops = [stop for row in speaking if (stop := asks[row].stop) is not None]
            said = decoding.from_state(self._network, stops, state.select(rows), logits[rows], self._speech)
            self.said |= zip((batch.asks[row] for row in speaking), said, strict=True)

    def speak(self) -> None:
        """What a model says that goes on from no cache."""
        rows: list[tuple[int, Tokens, Stop]] = [
            (place, ask.context, ask.stop)
            for place, ask in enumerate(self._asks)
            if ask.stop is not None and self._to_be_said(place)
        ]
        rows.sort(key=lambda row: -len(row[1]))
        for first in range(0, len(rows) if self._speech is not None else 0, ROWS):
            part = rows[first : first + ROWS]
            contexts, stops = [context for _, context, _ in part], [stop for _, _, stop in part]
            said = decoding.from_tokens(self._network, contexts, stops, self._speech)  # type: ignore[arg-type]
            self.said |= zip((place for place, _, _ in part), said, strict=True)

    def _to_be_said(self, place: int) -> bool:
        """Whether an ask, whose continuations are scored, needs decoding; what they tell is said here."""
        ask = self._asks[place]
        if ask.stop is None or self._speech is None:
            return False
        scored = [self.scored[place, number] for number in range(len(ask.continuations))]
        told = decoding.foretold(ask, scored, self._speech)
        if told is not None:
            self.said[place] = told
        return told is None
