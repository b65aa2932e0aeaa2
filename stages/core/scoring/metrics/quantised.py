"""What rounding to few bits costs: accuracy kept, answers flipped, divergence, task by task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.scoring.intervals import Clusters
from stages.core.scoring.paired import Paired, paired_difference


@dataclass(frozen=True)
class Quantised:
    """One task after rounding. full, rounded: accuracies before and after; kl: mean nats an answer token;
    flips: share of answers that changed. paired: rounded against full on the same items.
    """

    full: float
    rounded: float
    kl: float
    flips: float
    paired: Paired

    @property
    def retention(self) -> float | None:
        """rounded / full; None where nothing was right before."""
        return self.rounded / self.full if self.full else None


def quantised(
    full: Sequence[bool],
    rounded: Sequence[bool],
    clusters: Clusters,
    *,
    kl: float,
    flips: float,
    confidence: float,
) -> Quantised:
    """Compare a subject's answers after rounding with its own before, item by item."""
    return Quantised(
        math.fsum(full) / len(full),
        math.fsum(rounded) / len(rounded),
        kl,
        flips,
        paired_difference(rounded, full, clusters, confidence),
    )
