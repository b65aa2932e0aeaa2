"""What a setting of mergekit is worth: a scalar, a gradient over layers, or cases by tensor name.

mergekit looks for a name in the model's own parameters, then in the slice's, then in the global ones. In a
list of cases it takes the first whose filter is part of the tensor's name, and where none is, it looks on in
the next place. A list of numbers is interpolated over the layers of its slice, from 0 to 1; tensors before
and after the layers take its first number, and a slice of one layer its last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.core.errors import LabError
from stages.core.records.schema import nearest
from stages.merge.mergekit.rows import FLAGS, REQUIRED

CASE = ("filter", "value")


@dataclass(frozen=True)
class Scope:
    """One `parameters` of a document. where: its key there, e.g. 'models[0].parameters'."""

    where: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """The value of tensors whose name holds `filter`; None is all. points: over layers; one is everywhere."""

    filter: str | None
    points: tuple[float, ...]

    def at(self, t: float) -> float:
        """mergekit's number at `t`, 0 to 1 over the layers of a slice (evaluate_setting in its config.py)."""
        scaled = t * (len(self.points) - 1)
        before = int(scaled)
        after = min(len(self.points) - 1, before + 1)
        part = scaled - before
        return (1 - part) * self.points[before] + part * self.points[after]


@dataclass(frozen=True)
class Setting:
    """One parameter, over all its scopes. where: the key that decides first. cases: the last is for all."""

    where: str
    cases: tuple[Case, ...]

    @property
    def filters(self) -> tuple[str, ...]:
        """The filters in the order in which they are tried."""
        return tuple(case.filter for case in self.cases if case.filter is not None)

    def pick(self, name: str) -> Case:
        """The case of a tensor."""
        return next(case for case in self.cases if case.filter is None or case.filter in name)


class Unreadable(LabError):
    """A setting that gives no numbers. where: its key; the message is the reason."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where


def read(name: str, scopes: Sequence[Scope], default: float | None, where: str) -> Setting:
    """The setting of `name`, in mergekit's order of scopes; `where` stands for it if nowhere written.

    Raises Unreadable for what is no setting, and if some tensor has no value and there is no default.
    """
    cases: dict[str | None, Case] = {}
    first = None
    for scope in scopes:
        if name not in scope.parameters or None in cases:
            continue
        place = f"{scope.where}.{name}"
        first = first or place
        for case in _cases(name, scope.parameters[name], place):
            if None not in cases:
                cases.setdefault(case.filter, case)
    if None not in cases and default is REQUIRED:
        lacking = " and without ".join(repr(each) for each in cases)
        why = f"no value for tensors without {lacking}. Add a case without a filter" if cases else "missing"
        raise Unreadable(first or where, why)
    cases.setdefault(None, Case(None, (float(default or 0.0),)))
    found = Setting(first or where, tuple(cases.values()))
    if name in FLAGS and len({point for case in found.cases for point in case.points}) > 1:
        raise Unreadable(found.where, "it cannot differ between tensors here. Write true or false")
    return found


def _cases(name: str, setting: Any, where: str) -> list[Case]:
    if isinstance(setting, dict):
        raise Unreadable(where, "expected a number or a list of cases, got a map; mergekit fails on it")
    if not isinstance(setting, list) or not any(isinstance(case, dict) for case in setting):
        return [Case(None, _points(name, setting, where))]
    found = []
    for case in setting:
        if not isinstance(case, dict):
            raise Unreadable(where, f"expected cases only, got {str(case)[:80]!r} among them")
        for key in case:
            if key not in CASE:
                raise Unreadable(where, f"a case has no {key!r}{nearest(str(key), CASE)}")
        if "value" not in case:
            raise Unreadable(where, "a case lacks its value")
        wanted = case.get("filter")
        if not isinstance(wanted, str | None):
            raise Unreadable(where, f"filter: expected a part of tensor names, got {str(wanted)[:80]!r}")
        everything = wanted in (None, "*", "")
        found.append(Case(None if everything else wanted, _points(name, case["value"], where)))
    return found


def _points(name: str, setting: Any, where: str) -> tuple[float, ...]:
    """One number, or the numbers of a gradient; one where they are all the same."""
    numbers = tuple(
        _number(name, value, where) for value in (setting if isinstance(setting, list) else [setting])
    )
    if not numbers:
        raise Unreadable(where, "expected numbers, got an empty list")
    return numbers[:1] if len(set(numbers)) == 1 else numbers


def _number(name: str, value: Any, where: str) -> float:
    if name in FLAGS:
        if value in (0, 1) and isinstance(value, bool | int | float):
            return float(value)
        raise Unreadable(where, f"expected true or false, got {str(value)[:80]!r}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unreadable(where, f"expected a number, got {str(value)[:80]!r}")
    return float(value)
