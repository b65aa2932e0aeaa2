"""The list of merge methods, and what is wrong with a request for one."""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import cast

from stages.core.errors import BadRequest
from stages.core.records.recipe import Value
from stages.core.weights.method import Method, Parameter
from stages.core.weights.methods import (
    breadcrumbs,
    consensus,
    dare,
    della,
    greedy_soup,
    karcher,
    linear,
    model_stock,
    sce,
    slerp,
    task_arithmetic,
    task_slerp,
    ties,
)

METHODS: tuple[Method, ...] = (
    linear.METHOD,
    slerp.METHOD,
    task_arithmetic.METHOD,
    ties.METHOD,
    dare.LINEAR,
    dare.TIES,
    task_slerp.METHOD,
    karcher.METHOD,
    model_stock.METHOD,
    greedy_soup.METHOD,
    breadcrumbs.METHOD,
    della.METHOD,
    della.LINEAR,
    consensus.METHOD,
    sce.METHOD,
)
BY_NAME: Mapping[str, Method] = {method.name: method for method in METHODS}


def get(name: str) -> Method:
    """The method of that name. Raises BadRequest with the nearest name if there is none."""
    if name not in BY_NAME:
        raise BadRequest([f"method {name!r} is unknown{_nearest(name, list(BY_NAME))}"])
    return BY_NAME[name]


def problems(method_name: str, parameters: Mapping[str, object], parents: int) -> list[str]:
    """Every reason why the method cannot run with these parameters on that many parents; [] if it can.

    Parameters left out take their defaults. A per-parent parameter may be one number, or a list with one
    number for each parent.
    """
    if method_name not in BY_NAME:
        return [f"method {method_name!r} is unknown{_nearest(method_name, list(BY_NAME))}"]
    method = BY_NAME[method_name]
    least, most = method.parents
    found = []
    if not least <= parents <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        found.append(f"{method_name} takes {wanted} parents, got {parents}")
    names = [parameter.name for parameter in method.parameters]
    for name in parameters:
        if name not in names:
            found.append(f"{method_name}.{name} is unknown{_nearest(name, names)}")
    for parameter in method.parameters:
        if parameter.name in parameters:
            wrong = _wrong(parameter, parameters[parameter.name], parents)
            found += [f"{method_name}.{parameter.name}: {wrong}"] if wrong else []
    if not found:
        found += [f"{method_name}.{wrong}" for wrong in method.check(_filled(method, parameters, parents))]
    return found


def resolve(method_name: str, given: Mapping[str, object], parents: int) -> dict[str, Value]:
    """Every parameter of the method in declared order, with defaults filled in: what a recipe carries.

    Scalars become floats, and per-parent values tuples of one float per parent.
    Raises BadRequest with all `problems`.
    """
    found = problems(method_name, given, parents)
    if found:
        raise BadRequest(found)
    return _filled(BY_NAME[method_name], given, parents)


def _filled(method: Method, given: Mapping[str, object], parents: int) -> dict[str, Value]:
    return {p.name: _value(p, given.get(p.name, p.default), parents) for p in method.parameters}


def _value(parameter: Parameter, value: object, parents: int) -> Value:
    """The value in the type that a recipe keeps; `value` has passed `_wrong`. Negative zero becomes zero."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Sequence):
        return tuple(float(number) + 0.0 for number in value)
    number = float(cast(float, value)) + 0.0
    return (number,) * parents if parameter.kind == "per_parent" else number


def _wrong(parameter: Parameter, value: object, parents: int) -> str | None:
    if parameter.kind == "flag":
        return None if isinstance(value, bool) else f"expected true or false, got {value!r}"
    if parameter.kind == "choice":
        if isinstance(value, str) and value in parameter.choices:
            return None
        return f"{value!r} is no choice{_nearest(value, parameter.choices)}"
    if parameter.kind == "per_parent" and isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != parents:
            return f"expected one number, or one for each of {parents} parents, got {len(value)}"
        return next(filter(None, (_out_of_range(parameter, number) for number in value)), None)
    return _out_of_range(parameter, value)


def _out_of_range(parameter: Parameter, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"expected a number, got {value!r}"
    if not parameter.low <= value <= parameter.high:
        return f"expected {parameter.low:g} to {parameter.high:g}, got {value:g}"
    return None


def _nearest(name: object, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), names, n=1)
    return f". Did you mean {near[0]!r}?" if near else f". Known: {', '.join(names)}"
