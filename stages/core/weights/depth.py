"""Where a tensor stands in the model, by its name, and what a parameter is worth there.

The first number in a name is the layer, and what stands before it names the stack: `model.layers.3.mlp.up`
is layer 3 of `model.layers`. A stack has one layer more than its greatest number.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from stages.core.errors import BadRequest
from stages.core.records.recipe import Rule, Rules, Value
from stages.core.weights.method import Options

NUMBER = re.compile(r"(?:^|(?<=\.))(\d+)(?=\.|$)", re.ASCII)


@dataclass(frozen=True)
class Place:
    """Layer number `layer` (from 0) of `layers`."""

    layer: int
    layers: int


def places(names: Iterable[str]) -> dict[str, Place | None]:
    """The place of each tensor; None for those in no stack."""
    found = {name: NUMBER.search(name) for name in names}
    depths: dict[str, int] = {}
    for name, number in found.items():
        if number is not None:
            stack = name[: number.start()]
            depths[stack] = max(depths.get(stack, 0), int(number[1]) + 1)
    return {
        name: None if number is None else Place(int(number[1]), depths[name[: number.start()]])
        for name, number in found.items()
    }


def between(points: tuple[tuple[float, ...], ...], place: Place) -> tuple[float, ...]:
    """The point at a place: straight lines between points at equal distances; the first in a single layer."""
    if place.layers == 1:
        return points[0]
    before, rest = divmod(place.layer * (len(points) - 1), place.layers - 1)
    if rest == 0:
        return points[before]
    part = rest / (place.layers - 1)
    return tuple(a + (b - a) * part for a, b in zip(points[before], points[before + 1], strict=True))


def at(options: Options, name: str, place: Place | None) -> dict[str, Value]:
    """The parameters with every `Rules` replaced by its value for that tensor.

    Raises BadRequest if a rule with several points fits a tensor that stands in no layer.
    """
    found = dict(options)
    for key, value in options.items():
        if isinstance(value, Rules):
            rule = fitting(value, name)
            if len(rule.points) > 1 and place is None and rule.outside is None:
                raise BadRequest(
                    [
                        f"{key}: {name!r} stands in no layer, so the layers of {rule.match!r} have no value "
                        "there. Add outside to that rule, or put one with one value for it before"
                    ]
                )
            point = between(rule.points, place) if place is not None else rule.outside or rule.points[0]
            found[key] = point[0] if len(point) == 1 else point
    return found


def fitting(value: Rules, name: str) -> Rule:
    """The first rule that fits a name. The last fits all: the registry sees to it."""
    return next(rule for rule in value.rules if fnmatchcase(name, rule.match))


def idle(options: Options, names: Iterable[str]) -> list[str]:
    """A sentence for every rule, but the last, that no tensor falls to: a pattern misspelt, or too late."""
    listed = list(names)
    found = []
    for key, value in options.items():
        if isinstance(value, Rules):
            used = {id(fitting(value, name)) for name in listed}
            found += [
                f"{key}: no tensor falls to the rule {rule.match!r}. Correct it, or put it earlier"
                for rule in value.rules[:-1]
                if id(rule) not in used
            ]
    return found


def lines_factor(lines: tuple[float, ...], place: Place | None) -> float:
    """LiNeS: a + b * l / (L - 1) in layer l of L, a where L is 1; the third number outside all layers."""
    first, rise, outside = lines
    if place is None:
        return outside
    return first + rise * place.layer / (place.layers - 1) if place.layers > 1 else first


def resolved(options: Options, names: Iterable[str]) -> Mapping[str, tuple[dict[str, Value], Place | None]]:
    """Tensor name -> its parameters and its place. Raises BadRequest with every rule that cannot hold."""
    located = places(names)
    problems = idle(options, located)
    found: dict[str, tuple[dict[str, Value], Place | None]] = {}
    for name, place in located.items():
        try:
            found[name] = at(options, name, place), place
        except BadRequest as problem:
            problems += problem.problems
    if problems:
        raise BadRequest(problems)
    return found
