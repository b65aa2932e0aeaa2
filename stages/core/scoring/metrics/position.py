"""Nats a token by position in a text: how much harder a model finds token 300 than token 30.

Form `rolling` measures `nats@<from>` and `tokens@<from>` per item: the summed nats of the item's tokens from
that position to the next bucket's, and how many there are; None beyond the text.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.core.scoring.metrics.perplexity import exponential

NATS, TOKENS = "nats@", "tokens@"

Measures = Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Bucket:
    """Text from token `start` to the next bucket's. nats: mean a token; texts: how many reach it."""

    start: int
    nats: float
    tokens: float
    texts: int

    @property
    def perplexity(self) -> float:
        """exp of the nats a token."""
        return exponential(self.nats)


def by_position(measures: Measures) -> list[Bucket]:
    """One bucket per `nats@<from>` that some text reaches, by rising position; none without such measures."""
    buckets = []
    for start in sorted(int(name[len(NATS) :]) for name in measures if name.startswith(NATS)):
        nats, tokens = measures[f"{NATS}{start}"], measures[f"{TOKENS}{start}"]
        reached = [(n, t) for n, t in zip(nats, tokens, strict=True) if n is not None and t]
        if reached:
            whole = math.fsum(t for _, t in reached)
            buckets.append(Bucket(start, math.fsum(n for n, _ in reached) / whole, whole, len(reached)))
    return buckets
