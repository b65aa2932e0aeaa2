"""Numbers made from answers: plain functions of log-likelihoods, without models."""

import math
from collections.abc import Iterable, Sequence


def perplexity(answers: Iterable[Sequence[float]]) -> float:
    """exp of the mean negative log-likelihood (nats) per answer token, over all tokens of all answers.

    At least 1 for a proper model; infinite where exp would overflow, NaN if any log-likelihood is.
    """
    tokens = [value for answer in answers for value in answer]
    mean = -math.fsum(tokens) / len(tokens)
    return math.inf if mean > 700 else math.exp(mean)  # exp overflows float64 at 709.8
