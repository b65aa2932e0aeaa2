"""The list of merge methods, and what is wrong with a request for one."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from stages.core.errors import BadRequest
from stages.core.records.recipe import Rule, Rules, Value, plain
from stages.core.weights.method import Method, Parameter
from stages.core.weights.methods import (
    breadcrumbs,
    consensus,
    dare,
    della,
    greedy_soup,
    iso,
    karcher,
    layer_path,
    linear,
    model_stock,
    passthrough,
    sce,
    slerp,
    task_arithmetic,
    task_slerp,
    ties,
    tsv_m,
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
    passthrough.METHOD,
    layer_path.METHOD,
    tsv_m.METHOD,
    iso.COMMON,
    iso.COMMON_AND_OWN,
)
LINES = "lines"  # LiNeS (arXiv 2410.17146): a, b and the factor outside layers; for any delta method
READ_BYTES = "read_bytes"  # MergePipe (arXiv 2602.13273): of parents, at most; for methods with a gain
MOST_BYTES = (1 << 53) - 1  # JSON cannot carry more exactly
SHAPES = (["match", "value"], ["layers", "match"], ["layers", "match", "outside"])  # keys of a rule, sorted
EACH = ("per_parent", "one_or_each")  # kinds that may hold a number for each parent
BY_NAME: Mapping[str, Method] = {method.name: method for method in METHODS}


def get(name: str) -> Method:
    """The method of that name. Raises BadRequest with the nearest name if there is none."""
    if name not in BY_NAME:
        raise BadRequest([f"method {name!r} is unknown{_nearest(name, list(BY_NAME))}"])
    return BY_NAME[name]


def problems(method_name: str, parameters: Mapping[str, object], parents: int) -> list[str]:
    """Every reason why the method cannot run with these parameters on that many parents; [] if it can.

    Parameters left out take their defaults. A parameter of the kinds EACH may be one number, or a list with
    one number for each parent. Any number may be a list of rules by tensor name, {match, value} or
    {match, layers} or {match, layers, outside}, the last with match '*'; what these make together is checked
    when tensors are known (plan.py).
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
        if name == LINES and method.space == "delta":
            wrong = _wrong_lines(parameters[name])
            found += [f"{method_name}.{name}: {wrong}"] if wrong else []
        elif name == READ_BYTES:
            wrong = _wrong_budget(method, parameters[name])
            found += [f"{method_name}.{name}: {wrong}"] if wrong else []
        elif name not in names:
            found.append(f"{method_name}.{name} is unknown{_nearest(name, names)}")
    for parameter in method.parameters:
        if parameter.name in parameters:
            wrong = _wrong(parameter, parameters[parameter.name], parents)
            found += [f"{method_name}.{parameter.name}: {wrong}"] if wrong else []
    filled = {} if found else _filled(method, parameters, parents)
    if not found and not any(isinstance(value, Rules) for value in filled.values()):
        found += [f"{method_name}.{wrong}" for wrong in method.check(filled)]
    if READ_BYTES in filled and (needs := method.needed(filled)):
        options = ", ".join(f"{need.when[0]} {need.when[1]}" for need in needs if need.when)
        found.append(
            f"{method_name}.{READ_BYTES}: {options} measures whole tensors, a budget leaves parts out"
        )
    return found


def resolve(method_name: str, given: Mapping[str, object], parents: int) -> dict[str, Value]:
    """Every parameter of the method in declared order, with defaults filled in: what a recipe carries.

    Scalars become floats, and per-parent values tuples of one float per parent; a `one_or_each` value is one
    float unless its numbers differ.
    Raises BadRequest with all `problems`.
    """
    found = problems(method_name, given, parents)
    if found:
        raise BadRequest(found)
    return _filled(BY_NAME[method_name], given, parents)


def _filled(method: Method, given: Mapping[str, object], parents: int) -> dict[str, Value]:
    filled = {p.name: _value(p, given.get(p.name, p.default), parents) for p in method.parameters}
    filled = {
        p.name: filled[p.name] for p in method.parameters if not (p.late and filled[p.name] == p.default)
    }
    if LINES in given:
        filled[LINES] = tuple(float(number) + 0.0 for number in cast(Sequence[float], given[LINES]))
    if READ_BYTES in given:
        filled[READ_BYTES] = cast(int, given[READ_BYTES])
    return filled


def _value(parameter: Parameter, value: object, parents: int) -> Value:
    """The value in the type that a recipe keeps; `value` has passed `_wrong`. Negative zero becomes zero."""
    if parameter.read is not None:
        return parameter.read(cast(str, value), parents)
    if isinstance(value, bool | str | Rules):
        return value
    if _is_rules(value):
        return Rules(tuple(_rule(parameter, rule, parents) for rule in cast(Sequence[Any], value)))
    if isinstance(value, Sequence):
        return shortest(parameter, tuple(float(number) + 0.0 for number in value))
    number = float(cast(float, value)) + 0.0
    return (number,) * parents if parameter.kind == "per_parent" else number


def shortest(parameter: Parameter, numbers: tuple[float, ...]) -> Value:
    """One number in place of equal ones, for `one_or_each` alone: so one merge has one recipe."""
    return numbers[0] if parameter.kind == "one_or_each" and len(set(numbers)) == 1 else numbers


def _wrong(parameter: Parameter, value: object, parents: int) -> str | None:
    if parameter.kind in ("flag", "choice"):
        return _wrong_word(parameter, value)
    if parameter.read is not None:
        return _wrong_text(parameter.read, value, parents)
    if isinstance(value, Rules) or _is_rules(value):
        return _wrong_rules(parameter, value, parents)
    if parameter.kind == "parent":
        return _no_parent(value, parents)
    if parameter.kind in EACH and isinstance(value, Sequence) and not isinstance(value, str):
        return _wrong_list(parameter, value, parents)
    return _out_of_range(parameter, value)


def _wrong_word(parameter: Parameter, value: object) -> str | None:
    if parameter.kind == "flag":
        return None if isinstance(value, bool) else f"expected true or false, got {value!r}"
    known = isinstance(value, str) and value in parameter.choices
    return None if known else f"{value!r} is no choice{_nearest(value, parameter.choices)}"


def _wrong_text(read: Callable[[str, int], str], value: object, parents: int) -> str | None:
    if not isinstance(value, str):
        return f"expected a text, got {value!r}. Put it in quotes: YAML reads 1:8 as a number"
    try:
        read(value, parents)
    except BadRequest as refused:
        return "; ".join(refused.problems)
    return None


def _no_parent(value: object, parents: int) -> str | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if known and value in range(1, parents + 1):
        return None
    return f"expected the place of a parent, a whole number from 1 to {parents}, got {value!r}"


def _wrong_list(parameter: Parameter, value: Sequence[object], parents: int) -> str | None:
    if len(value) != parents:
        return f"expected one number, or one for each of {parents} parents, got {len(value)}"
    return next(filter(None, (_out_of_range(parameter, number) for number in value)), None)


def _is_rules(value: object) -> bool:
    return isinstance(value, Sequence) and any(isinstance(entry, Mapping) for entry in value)


def _rule(parameter: Parameter, rule: Mapping[str, Any], parents: int) -> Rule:
    """The rule that `_wrong_rules` has passed, every point spread over the parents if it has one for each."""
    points = [*rule.get("layers", [rule.get("value")]), *([rule["outside"]] if "outside" in rule else [])]
    found = [_value(parameter, point, parents) for point in points]
    tuples = [point if isinstance(point, tuple) else (cast(float, point),) for point in found]
    longest = max(len(point) for point in tuples)
    spread = [point if len(point) == longest else point * longest for point in tuples]
    outside = spread.pop() if "outside" in rule else None
    return Rule(rule["match"], tuple(spread), outside)


def _wrong_rules(parameter: Parameter, value: object, parents: int) -> str | None:
    """What is wrong first with a list of rules; the last must fit all tensors, so that none is left out."""
    rules = plain(value) if isinstance(value, Rules) else cast(Sequence[Any], value)
    for rule in rules:
        if not isinstance(rule, Mapping) or sorted(map(str, rule)) not in SHAPES:
            return f"expected {{match, value}} or {{match, layers}}, with outside if wanted, got {rule!r}"
        if not isinstance(rule["match"], str):
            return f"match: expected a pattern of tensor names, got {rule['match']!r}"
        points = rule.get("layers", [rule.get("value")])
        if (
            not isinstance(points, Sequence)
            or isinstance(points, str)
            or ("layers" in rule and len(points) < 2)
        ):
            return f"{rule['match']}: layers: expected two or more values, got {points!r}"
        points = [*points, *([rule["outside"]] if "outside" in rule else [])]
        if any(isinstance(point, Rules) or _is_rules(point) for point in points):
            return f"{rule['match']}: a rule cannot hold rules"
        wrong = next(filter(None, (_wrong(parameter, point, parents) for point in points)), None)
        if wrong:
            return f"{rule['match']}: {wrong}"
    return None if rules and rules[-1]["match"] == "*" else "the last rule must have match '*'"


def _wrong_lines(value: object) -> str | None:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        return f"expected [a, b, factor outside layers], got {value!r}"
    bounds = Parameter(LINES, "scalar", 1.0, "", low=-10.0, high=10.0)
    return next(filter(None, (_out_of_range(bounds, number) for number in value)), None)


def _wrong_budget(method: Method, value: object) -> str | None:
    if method.gain is None:
        able = ", ".join(other.name for other in METHODS if other.gain is not None)
        return (
            f"{method.name} has no bound on what parts of parents that are left unread would change. "
            f"Leave it out, or choose one of {able}"
        )
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_BYTES:
        return f"expected a whole number of bytes from 1 to 2^53 - 1, got {value!r}"
    return None


def _out_of_range(parameter: Parameter, value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return f"expected a number, got {value!r}"
    if not parameter.low <= value <= parameter.high:
        return f"expected {parameter.low:g} to {parameter.high:g}, got {value:g}"
    return None


def _nearest(name: object, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), names, n=1)
    return f". Did you mean {near[0]!r}?" if near else f". Known: {', '.join(names)}"
