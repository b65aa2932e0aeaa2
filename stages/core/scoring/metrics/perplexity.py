"""Perplexity of answers: a plain function of log-likelihoods, without models."""

import math
from collections.abc import Iterable, Sequence

OVERFLOW = 700  # nats: exp overflows float64 at 709.8


def perplexity(answers: Iterable[Sequence[float]]) -> float:
    """exp of the mean negative log-likelihood (nats) per answer token, over all tokens of all answers.

    At least 1 for a proper model; infinite where exp would overflow, NaN if any log-likelihood is.
    """
    tokens = [value for answer in answers for value in answer]
    return exponential(-math.fsum(tokens) / len(tokens))


def exponential(nats: float) -> float:
    """exp(nats), infinite where float64 would overflow: the perplexity of a mean of nats a token."""
    return math.inf if nats > OVERFLOW else math.exp(nats)
