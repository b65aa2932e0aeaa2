"""Out of distribution: how much accuracy a shift costs a subject, against what it costs the parents."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.scoring.intervals import Clusters, Interval, percentile_interval


@dataclass(frozen=True)
class Drop:
    """within, shifted: accuracies on the usual task and on the shifted one; interval: of the drop."""

    within: float
    shifted: float
    interval: Interval

    @property
    def drop(self) -> float:
        """Accuracy lost to the shift, −1 to 1."""
        return self.within - self.shifted


def drop(
    within: Sequence[bool],
    shifted: Sequence[bool],
    clusters: tuple[Clusters, Clusters],
    confidence: float,
) -> Drop:
    """The drop of one subject. clusters: of the usual and of the shifted task, from one shared resample."""
    samples = clusters[0].means(within) - clusters[1].means(shifted)
    return Drop(
        sum(within) / len(within), sum(shifted) / len(shifted), percentile_interval(samples, confidence)
    )
