"""One number out of a setting of mergekit: a scalar, a gradient over layers, or cases by tensor name.

mergekit looks for a name in the model's own parameters, then in the slice's, then in the global ones, and in
a list of cases takes the first whose filter is part of the tensor's name. A list of numbers is interpolated
over the layers of its slice, 0 to 1; tensors before and after the layers take its first number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import LabError
from stages.core.records.schema import nearest
from stages.merge.mergekit.rows import FLAGS

GRADIENT = "gradients over layers are not supported yet. Write one number"
FILTERS = "values by tensor name (filter) are not supported yet. Write one number"
CASE = ("filter", "value")


@dataclass(frozen=True)
class Scope:
    """One `parameters` of a document. where: its key there, e.g. 'models[0].parameters'."""

    where: str
    parameters: Mapping[str, Any]


class Unreadable(LabError):
    """A setting that gives no number; the message is the reason."""


def find(name: str, scopes: Sequence[Scope]) -> tuple[str, Any] | None:
    """Key and setting of `name` in the first scope that has it; None if none has."""
    for scope in scopes:
        if name in scope.parameters:
            return f"{scope.where}.{name}", scope.parameters[name]
    return None


def constant(name: str, setting: Any) -> float:
    """The one number of a setting; 0 or 1 for a flag. Raises Unreadable if there is none, or several."""
    if isinstance(setting, list) and setting and all(isinstance(case, dict) for case in setting):
        return _cases(name, setting)
    if isinstance(setting, dict):
        raise Unreadable("expected a number or a list of cases, got a map; mergekit fails on it")
    return _flat(name, setting)


def _cases(name: str, cases: Sequence[Mapping[str, Any]]) -> float:
    """The number of all cases up to the first without a filter, if it is one and the same."""
    numbers = []
    for case in cases:
        for key in case:
            if key not in CASE:
                raise Unreadable(f"a case has no {key!r}{nearest(str(key), CASE)}")
        if "value" not in case:
            raise Unreadable("a case lacks its value")
        numbers.append(_flat(name, case["value"]))
        if case.get("filter") in (None, "*"):
            break
    else:
        raise Unreadable(FILTERS)
    if len(dict.fromkeys(numbers)) != 1:
        raise Unreadable(FILTERS)
    return numbers[0]


def _flat(name: str, setting: Any) -> float:
    """A number, or a gradient whose numbers are all the same."""
    if not isinstance(setting, list):
        return _number(name, setting)
    numbers = [_number(name, value) for value in setting]
    if len(dict.fromkeys(numbers)) != 1:
        raise Unreadable(GRADIENT)
    return numbers[0]


def _number(name: str, value: Any) -> float:
    if name in FLAGS:
        if value in (0, 1) and isinstance(value, bool | int | float):
            return float(value)
        raise Unreadable(f"expected true or false, got {str(value)[:80]!r}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(f"expected a number, got {str(value)[:80]!r}")
    return float(value)
