"""Parts of a task: accuracy by stratum with exact bounds, in tables and two-way grids.

A stratum is a string "name=value" of an item. Bounds are Clopper-Pearson's: parts are small, and the
bootstrap of a part in which all answers agree has no width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.scoring.intervals import Interval, clopper_pearson

SEPARATOR = "="


@dataclass(frozen=True)
class Part:
    """values: of the strata names asked for, as written. right of items; interval: exact, of the accuracy."""

    values: tuple[str, ...]
    right: int
    items: int
    interval: Interval

    @property
    def accuracy(self) -> float:
        """Share right, 0 to 1."""
        return self.right / self.items


def value_of(strata: Sequence[str], name: str) -> str | None:
    """The value of stratum `name` of one item; None where the item is in none of that name."""
    start = name + SEPARATOR
    return next((one[len(start) :] for one in strata if one.startswith(start)), None)


def by_stratum(
    strata: Sequence[Sequence[str]], correct: Sequence[bool], names: Sequence[str], confidence: float
) -> list[Part]:
    """Accuracy per combination of values of `names`: one name is a table, two are a grid (length, depth).

    strata: of each item. Items that lack one of the names are left out. In rising order of the values, as
    numbers where all values of a name are numbers. Empty where no item has the names.
    """
    counts: dict[tuple[str, ...], list[bool]] = {}
    for item, right in zip(strata, correct, strict=True):
        values = [value_of(item, name) for name in names]
        if None not in values:
            counts.setdefault(tuple(str(value) for value in values), []).append(right)
    order = _order(list(counts))
    return [
        Part(
            key,
            sum(counts[key]),
            len(counts[key]),
            clopper_pearson(sum(counts[key]), len(counts[key]), confidence),
        )
        for key in order
    ]


def _order(keys: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    columns = list(zip(*keys, strict=True))
    numeric = [all(_number(value) is not None for value in column) for column in columns]

    def rank(key: tuple[str, ...]) -> tuple[tuple[float, str], ...]:
        return tuple(
            ((_number(value) or 0.0) if is_number else 0.0, value)
            for value, is_number in zip(key, numeric, strict=True)
        )

    return sorted(keys, key=rank)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
