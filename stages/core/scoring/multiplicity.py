"""Many tests at once: p-values adjusted so that one false claim among all is as rare as the level says."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Adjusted p of each test, in the order given: compare it with the family-wise level.

    The k-th smallest of n is multiplied by n − k + 1, never falls below its predecessor, and is cut at 1. It
    holds under any dependence between the tests, and is never weaker than Bonferroni's.
    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    adjusted: dict[Name, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}
