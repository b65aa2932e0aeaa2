"""What a parameter of mergekit is worth at one tensor, worked out from its documents by its own formulas.

Readable and apart from the translation: config.py (evaluate_setting, ConfigReader.parameter) and plan.py
(plan_slice, plan_module) of mergekit 0.1, in our words. A document has `slices` of whole layers, or `models`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PRE = ("model.embed_tokens.weight",)


def evaluate(setting: Any, name: str, t: float) -> float | None:
    """A scalar, a gradient at t, or the first case whose filter is in the name; None if none is."""
    if isinstance(setting, bool | int | float):
        return float(setting)
    if all(isinstance(entry, int | float) for entry in setting):
        scaled = t * (len(setting) - 1)
        low = int(scaled)
        high = min(low + 1, len(setting) - 1)
        return (1 - (scaled - low)) * setting[low] + (scaled - low) * setting[high]
    for case in setting:
        if case.get("filter") in (None, "*") or case["filter"] in name:
            return evaluate(case["value"], name, t)
    return None


def value(tree: Mapping[str, Any], parameter: str, model: str | None, name: str, layers: int) -> float:
    """The number of `parameter` for `model` (None: for the whole merge) at a tensor of `layers` layers."""
    slices: Sequence[Any] = tree.get("slices") or [{"sources": tree["models"]}]
    numbers = [int(part) for part in name.split(".") if part.isdigit()]
    if numbers:
        layer, (here,) = numbers[0], [part for part in slices if _holds(part, numbers[0], layers)]
        first, end = here["sources"][0].get("layer_range", [0, layers])
        t = (layer - first) / (end - first - 1) if end - first > 1 else 1.0
    else:
        here, t = slices[0 if name in PRE else -1], 0.0
    own = [each.get("parameters") or {} for each in here["sources"] if each["model"] == model]
    for scope in (*own, here.get("parameters") or {}, tree.get("parameters") or {}):
        if parameter in scope and (found := evaluate(scope[parameter], name, t)) is not None:
            return found
    raise KeyError(parameter)


def _holds(part: Mapping[str, Any], layer: int, layers: int) -> bool:
    first, end = part["sources"][0].get("layer_range", [0, layers])
    return bool(first <= layer < end)
