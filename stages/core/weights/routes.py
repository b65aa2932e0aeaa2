"""Which tensors each output tensor is made of: from headers and parameters, before a byte is read.

Most methods make a tensor of the one with its name in every parent. Data-flow merges take one tensor of one
parent, which may stand under another name: layer 7 of the result may be layer 3 of the second parent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from stages.core.errors import BadRequest, Unmergeable
from stages.core.records.recipe import Value
from stages.core.weights import depth, method
from stages.core.weights.method import Options
from stages.core.weights.methods import layer_path
from stages.core.weights.methods.layer_path import Span
from stages.core.weights.reader import TensorSpec

Tensors: TypeAlias = Mapping[str, TensorSpec]
Source: TypeAlias = tuple[int, str]
"""(place of the parent, from 0; name of the tensor there)."""


@dataclass(frozen=True)
class Routed:
    """What a route found.

    sources: output tensor → the one that it is made of. slots: (place of the parent, layer) by output layer.
    """

    sources: Mapping[str, Source]
    slots: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Stack:
    """The layers of one parent. prefix: what stands before their numbers. layers: number → rest → name."""

    prefix: str
    layers: Mapping[int, Mapping[str, str]] = field(default_factory=dict)

    @property
    def held(self) -> str:
        """How many layers, for messages."""
        return f"{len(self.layers)} layers, 0 to {max(self.layers)}" if self.layers else "no layers"


def one_parent(parameters: Options, parents: Sequence[Tensors]) -> Routed:
    """Every tensor from its `donor`, under its own name.

    Raises BadRequest for a donor that is none, Unmergeable listing every tensor that its donor lacks.
    """
    return Routed(_given("donor", parameters["donor"], parents, _union(parents)))


def along_path(parameters: Options, parents: Sequence[Tensors]) -> Routed:
    """The layers of `path` under new numbers, and all else from the parent `outside`.

    Raises BadRequest for layers that a parent lacks, Unmergeable listing every tensor of a slot that the
    first slot has not, or of another shape, and every tensor outside the layers that its parent lacks.
    """
    spans = layer_path.parse(str(parameters["path"]))
    if wrong := layer_path.unknown(spans, len(parents)):
        raise BadRequest(wrong)
    stacks = {span.parent - 1: _stack(span.parent - 1, parents[span.parent - 1]) for span in spans}
    slots = _slots(spans, stacks)
    prefixes = {place: stack.prefix for place, stack in stacks.items()}
    if len(set(prefixes.values())) > 1:
        named = ", ".join(f"parent {place + 1}: {prefix!r}" for place, prefix in sorted(prefixes.items()))
        raise Unmergeable(
            f"the parents keep their layers under different names ({named}): no path joins them"
        )
    _alike(slots, stacks, parents)
    prefix = next(iter(prefixes.values()))
    sources = {
        f"{prefix}{layer}{rest}": (place, name)
        for layer, (place, number) in enumerate(slots)
        for rest, name in stacks[place].layers[number].items()
    }
    outside = [name for name in _union(parents) if _prefix(name) != prefix]
    return Routed(_given("outside", parameters["outside"], parents, outside) | sources, slots)


def _given(key: str, value: Value, parents: Sequence[Tensors], names: Sequence[str]) -> dict[str, Source]:
    """name → the parent that `key` names for it, where it has that same name."""
    found: dict[str, Source] = {}
    problems, lacking = [], []
    for name, (options, _) in depth.resolved({key: value}, names).items():
        number = method.number(options, key)
        if number not in range(1, len(parents) + 1):
            problems.append(
                f"{key}: {number:g} at {name!r} is no parent. Between layers use rules with one value each"
            )
            continue
        place = int(number) - 1
        found[name] = place, name
        if name not in parents[place]:
            holders = [f"parent {n}" for n, tensors in enumerate(parents, start=1) if name in tensors]
            lacking.append(f"{name}: {key} takes it from parent {place + 1}; it is in {', '.join(holders)}")
    if problems:
        raise BadRequest(problems)
    if lacking:
        _refuse(lacking, f"Name a parent that has them, by rules of {key}.")
    return found


def _union(parents: Sequence[Tensors]) -> list[str]:
    """Every name that some parent has, in the order met."""
    return list(dict.fromkeys(name for tensors in parents for name in tensors))


def _prefix(name: str) -> str | None:
    number = depth.NUMBER.search(name)
    return name[: number.start()] if number else None


def _stack(place: int, tensors: Iterable[str]) -> Stack:
    """The stack of one parent with the most layers. Raises Unmergeable if two have as many."""
    stacks: dict[str, dict[int, dict[str, str]]] = {}
    for name in tensors:
        number = depth.NUMBER.search(name)
        if number is not None:
            layers = stacks.setdefault(name[: number.start()], {})
            layers.setdefault(int(number[1]), {})[name[number.end() :]] = name
    most = max((max(layers) for layers in stacks.values()), default=-1)
    deepest = [prefix for prefix, layers in stacks.items() if max(layers) == most]
    if len(deepest) > 1:
        raise Unmergeable(
            f"parent {place + 1} has several stacks of {most + 1} layers ({', '.join(map(repr, deepest))}): "
            "a path cannot tell which it goes through"
        )
    return Stack(deepest[0], stacks[deepest[0]]) if deepest else Stack("")


def _slots(spans: Sequence[Span], stacks: Mapping[int, Stack]) -> tuple[tuple[int, int], ...]:
    """(place, layer) of every output layer. Raises BadRequest with every span that names a layer too many."""
    problems, slots = [], []
    for span in spans:
        stack = stacks[span.parent - 1]
        end = max(stack.layers, default=-1) + 1 if span.end is None else span.end
        wanted = range(span.first, end)
        if not wanted or not all(layer in stack.layers for layer in wanted):
            problems.append(f"path: '{span}': parent {span.parent} has {stack.held}")
        slots += [(span.parent - 1, layer) for layer in wanted]
    if problems:
        raise BadRequest(problems)
    return tuple(slots)


def _alike(slots: Sequence[tuple[int, int]], stacks: Mapping[int, Stack], parents: Sequence[Tensors]) -> None:
    """Raises Unmergeable listing every tensor in which some layer of the path differs from the first."""

    def shapes(place: int, layer: int) -> dict[str, list[int]]:
        return {r: list(parents[place][name].shape) for r, name in stacks[place].layers[layer].items()}

    first = shapes(*slots[0])
    wrong = []
    for place, layer in dict.fromkeys(slots):
        own, where = shapes(place, layer), f"layer {layer} of parent {place + 1}"
        for rest in sorted(first.keys() | own.keys()):
            expected, got = first.get(rest), own.get(rest)
            if expected != got:
                shown = rest.removeprefix(".") or "the layer itself"
                wrong.append(f"{shown}: {got or 'missing'} in {where}, {expected or 'missing'} in the first")
    if wrong:
        _refuse(wrong, "Choose layers of one shape.")


def _refuse(wrong: Sequence[str], move: str) -> None:
    listed = "".join(f"\n  {line}" for line in wrong)
    raise Unmergeable(f"{len(wrong)} tensors do not fit together:{listed}\n{move}")
