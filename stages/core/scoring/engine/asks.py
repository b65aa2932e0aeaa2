"""What is asked of a model, in token ids, and what it replies."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stop:
    """Where greedy decoding ends: before the first of `texts`, at an end token, or after `most` tokens."""

    texts: tuple[str, ...]
    most: int


@dataclass(frozen=True)
class Ask:
    """One context with everything asked after it: continuations to be scored, each at least one token, and
    where `stop` is given, what the model says itself. The context is at least one token.
    """

    context: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...] = ()
    stop: Stop | None = None


@dataclass(frozen=True)
class Scored:
    """nats: log-likelihood of each token of a continuation. greedy: each is the likeliest at its place.
    peak: the largest probability of any first token, 0..1.
    """

    nats: tuple[float, ...]
    greedy: bool
    peak: float


@dataclass(frozen=True)
class Said:
    """text: without the stop text and what follows it. certainty: mean probability of the tokens decoded, the
    one that ended it included, 0..1.
    """

    text: str
    certainty: float


@dataclass(frozen=True)
class Reply:
    """scored: one for each continuation of the Ask; said: where it asked for it."""

    scored: tuple[Scored, ...]
    said: Said | None = None
