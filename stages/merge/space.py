"""The space of one method: what its file fixes, and the axes a search may move along.

A point of the unit cube becomes parameters by `at`; the stated values are `anchor`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.conf import Method, unsearchable
from stages.core.errors import BadRequest
from stages.core.records.recipe import Value
from stages.core.weights import registry

DECIMALS = 4  # of a searched number: finer than any effect, short enough to read and to type again


@dataclass(frozen=True)
class Axis:
    """One dimension: a parameter (and, for a list, its position), over a range or among choices."""

    parameter: str
    position: int | None
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    def value(self, fraction: float) -> float | str:
        """The value at `fraction` in [0, 1) of this axis."""
        if self.choices:
            return self.choices[int(fraction * len(self.choices))]
        return round(self.low + fraction * (self.high - self.low), DECIMALS)


@dataclass(frozen=True)
class Space:
    """All points of one method for k parents."""

    method: str
    version: int
    anchor: dict[str, Value]
    axes: tuple[Axis, ...]

    def at(self, point: Sequence[float]) -> dict[str, Value]:
        """Parameters at a point of the unit cube, one fraction per axis."""
        found = dict(self.anchor)
        lists: dict[str, list[float]] = {}
        for axis, fraction in zip(self.axes, point, strict=True):
            value = axis.value(fraction)
            if axis.position is None:
                found[axis.parameter] = value
            else:
                lists.setdefault(axis.parameter, []).append(float(value))
        kinds = {parameter.name: parameter for parameter in registry.get(self.method).parameters}
        return found | {name: registry.shortest(kinds[name], tuple(values)) for name, values in lists.items()}


def space(name: str, chosen: Method, parents: int) -> Space:
    """The space of method `name` as its section of the request states it, for `parents` ≥ 2 parents.

    Raises BadRequest for values that the method does not take, and for a search over rules.
    """
    refused = {key: unsearchable(key, parameter) for key, parameter in chosen.parameters.items()}
    if any(refused.values()):
        raise BadRequest([f"method.{name}.{key}.search: {why}" for key, why in refused.items() if why])
    given = {key: parameter.value for key, parameter in chosen.parameters.items()}
    anchor = registry.resolve(name, given, parents)
    axes: list[Axis] = []
    for key, parameter in chosen.parameters.items():
        if parameter.search is None:
            continue
        if isinstance(parameter.search[0], str):
            known = [
                registry.resolve(name, given | {key: choice}, parents)[key] for choice in parameter.search
            ]
            axes.append(Axis(key, None, choices=tuple(str(choice) for choice in known)))
            continue
        low, high = (float(end) for end in parameter.search)
        places = range(parents) if isinstance(anchor[key], tuple) else (None,)
        axes += [Axis(key, place, low, high) for place in places]
    return Space(name, chosen.version, anchor, tuple(axes))
