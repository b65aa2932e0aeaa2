"""Selection against hidden: the winner's curse, and a hidden score that is too good to be honest.

Two splits of one task are drawn alike, so a subject's expected accuracies agree but for how hard the draws
are; that is the same for all, and is taken out by the parents, who were not selected and saw nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stages.core.scoring.intervals import Floats, Interval, percentile_interval


@dataclass(frozen=True)
class Scores:
    """A subject's score on one split, and on its resamples. samples: [draws]."""

    value: float
    samples: Floats


@dataclass(frozen=True)
class Gap:
    """selection minus hidden of one subject, less the references' mean; interval: bootstrap of both splits.

    inflated: the interval lies above 0; selecting flattered it (the winner's curse). leaked: the interval
    lies below 0; it does better on cases that nobody could have seen than on those that were public.
    """

    subject: str
    gap: float
    interval: Interval

    @property
    def inflated(self) -> bool:
        """Whether the selection score was shown to promise too much."""
        return self.interval.low > 0

    @property
    def leaked(self) -> bool:
        """Whether the hidden score was shown to be better than the selection score allows."""
        return self.interval.high < 0


def gap(
    subject: str,
    selection: Mapping[str, Scores],
    hidden: Mapping[str, Scores],
    references: tuple[str, ...],
    confidence: float,
) -> Gap:
    """The gap of `subject`. selection, hidden: subject → scores, with one resample per split shared by all.

    references: the parents, as a rule; their mean gap is how much harder the hidden draw is.
    """
    values = {name: selection[name].value - hidden[name].value for name in (subject, *references)}
    samples = {name: selection[name].samples - hidden[name].samples for name in (subject, *references)}
    harder = math.fsum(values[name] for name in references) / len(references)
    noise = sum((samples[name] for name in references), start=samples[subject] * 0) / len(references)
    return Gap(subject, values[subject] - harder, percentile_interval(samples[subject] - noise, confidence))


def winners_curse(selection: Mapping[str, float], hidden: Mapping[str, float]) -> tuple[str, float]:
    """(who leads on the selection split, its selection score minus its hidden score); ties by id.

    Above 0 by chance alone, the more so the more are compared. Source: Capen, Clapp and Campbell 1971;
    Cawley and Talbot 2010, JMLR 11, for model selection.
    """
    winner = min(selection, key=lambda name: (-selection[name], name))
    return winner, selection[winner] - hidden[winner]
