"""One temperature, fitted on the calibration split, and what it mends on another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.core.scoring.intervals import Floats
from stages.core.scoring.metrics.calibration import SMALLEST, adaptive_ece

LOWEST, HIGHEST = 0.05, 20.0  # bounds of a temperature: beyond them, confidence says nothing of being right
HALVINGS = 60  # of the interval of 1/T: its ends then agree to float64


@dataclass(frozen=True)
class Refit:
    """temperature: unitless, above 1 where the model was too sure. ece_before, ece_after: `adaptive_ece` on
    the split judged, with the confidences as they were and at that temperature.
    """

    temperature: float
    ece_before: float
    ece_after: float


def fit_temperature(confidence: Sequence[float], correct: Sequence[bool]) -> float:
    """T at which σ(logit(confidence) / T) has the least negative log-likelihood of `correct`.

    confidence: of the choice made. That is temperature scaling of the choice made against all others: with
    two choices the usual one. Convex in 1/T, so its root is found by halving; T within LOWEST..HIGHEST.
    Source: Guo et al. 2017 (1706.04599); Gupta and Ramdas 2022 (2107.08353), top-label.
    """
    logits, met = _logits(confidence), np.asarray(correct, dtype=np.float64)
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        slope = float(np.sum((_sigmoid(middle * logits) - met) * logits))
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 2 / (low + high)


def at_temperature(confidence: Sequence[float], temperature: float) -> list[float]:
    """The confidences at another temperature, 0 to 1."""
    return [float(value) for value in _sigmoid(_logits(confidence) / temperature)]


def refit(
    fitted_on: tuple[Sequence[float], Sequence[bool]], judged_on: tuple[Sequence[float], Sequence[bool]]
) -> Refit:
    """Fit on one split, judge on another; each is (confidence, correct) per item."""
    temperature = fit_temperature(*fitted_on)
    confidence, correct = judged_on
    after = adaptive_ece(at_temperature(confidence, temperature), correct)
    return Refit(temperature, adaptive_ece(confidence, correct), after)


def _logits(confidence: Sequence[float]) -> Floats:
    shares = np.clip(np.asarray(confidence, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(shares / (1 - shares)))


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)))
