"""A candidate is its recipe: what enters its identity, and nothing else does.

| field | enters the id because |
|---|---|
| base, parents | digests of the exact bytes merged, in the order listed |
| method, method_version | the arithmetic asked for |
| parameters | every coefficient and option, resolved; floats as exact hex; rules by tensor name as written |
| seed | keys the masks of the random methods |
| output_dtype | decides the final rounding |
| numerics | version of the arithmetic contract (core/weights/numerics.py) |

Names, paths, thread counts, block sizes, hosts, isolation and dates are recorded in the lineage beside it
and are no part of the id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from stages.core.errors import LabError
from stages.core.records.canonical import Json, dumps, from_hex, hex_float
from stages.core.records.files import sha256_bytes

SCHEMA = "mergelab/recipe/1"
ID_HEX = 12  # 48 bits: a birthday collision among 10^5 candidates has probability 2e-5, and is detected


@dataclass(frozen=True)
class Rule:
    """A value for the tensors whose name fits `match`, a pattern as in a shell (*, ?, [abc]), case observed.

    points: one or more, at equal distances from the first layer to the last, straight lines between; a single
    one holds everywhere. Each point is one number, or one for each parent. outside: the point of tensors that
    stand in no layer, where points are several; None lets none of them fall to this rule.
    """

    match: str
    points: tuple[tuple[float, ...], ...]
    outside: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Rules:
    """A parameter that depends on the tensor: the first rule that fits its name counts. The last fits all."""

    rules: tuple[Rule, ...]

    def __str__(self) -> str:
        return readable(plain(self))


Value: TypeAlias = float | int | bool | str | tuple[float, ...] | Rules


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a candidate's bytes. Digests are 64 lower-case hex characters."""

    method: str
    method_version: int
    base: str | None
    parents: tuple[str, ...]
    parameters: Mapping[str, Value]
    seed: int
    output_dtype: str
    numerics: int

    def to_json(self) -> Json:
        """The canonical tree; `from_json` is its inverse."""
        return {
            "schema": SCHEMA,
            "method": {"name": self.method, "version": self.method_version},
            "base": self.base,
            "parents": list(self.parents),
            "parameters": {name: _encode(value) for name, value in self.parameters.items()},
            "seed": self.seed,
            "output_dtype": self.output_dtype,
            "numerics": self.numerics,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the identity of the candidate."""
        return sha256_bytes(dumps(self.to_json()))

    @property
    def id(self) -> str:
        """The first 12 hex characters of `digest`: the name of the candidate's folder."""
        return self.digest[:ID_HEX]


def from_json(tree: Json) -> Recipe:
    """The recipe that `Recipe.to_json` wrote. Raises LabError on any other schema or shape."""
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise LabError(f"expected a recipe of schema {SCHEMA!r}, got {str(tree)[:80]!r}")
    try:
        return Recipe(
            method=tree["method"]["name"],
            method_version=tree["method"]["version"],
            base=tree["base"],
            parents=tuple(tree["parents"]),
            parameters={name: _decode(value) for name, value in tree["parameters"].items()},
            seed=tree["seed"],
            output_dtype=tree["output_dtype"],
            numerics=tree["numerics"],
        )
    except (KeyError, TypeError, AttributeError) as problem:
        raise LabError(f"this recipe is incomplete: {problem!r}") from problem


def plain(value: Value) -> Json:
    """The value as a request writes it: numbers, lists, and rules as maps of match with value or layers."""
    if isinstance(value, tuple):
        return list(value)
    if not isinstance(value, Rules):
        return value
    found = []
    for rule in value.rules:
        points = [_point(point) for point in rule.points]
        stated = {"value": points[0]} if len(points) == 1 else {"layers": points}
        stated |= {} if rule.outside is None else {"outside": _point(rule.outside)}
        found.append({"match": rule.match, **stated})
    return found


def readable(value: Json) -> str:
    """A `plain` value for people; rules as 'pattern: first … last, outside: x; pattern: value'."""
    if not isinstance(value, list) or not all(isinstance(rule, dict) for rule in value):
        return str(value)
    found = []
    for rule in value:
        points = " … ".join(_words(point) for point in rule.get("layers", [rule.get("value")]))
        outside = f", outside layers {_words(rule['outside'])}" if "outside" in rule else ""
        found.append(f"{rule['match']}: {points}{outside}")
    return "; ".join(found)


def cell(value: Value) -> str:
    """The value in a cell of a Markdown table; rules as code, for their stars and bars."""
    if not isinstance(value, Rules):
        return str(value)
    return f"`{value}`".replace("|", "\\|")


def _point(point: tuple[float, ...]) -> Json:
    return point[0] if len(point) == 1 else list(point)


def _words(point: Json) -> str:
    return ", ".join(f"{number:g}" for number in (point if isinstance(point, list) else [point]))


def _encode(value: Value) -> Json:
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, tuple):
        return [hex_float(number) for number in value]
    if isinstance(value, Rules):
        return {"rules": [_encoded(rule) for rule in value.rules]}
    return {"float": hex_float(value)}


def _encoded(rule: Rule) -> Json:
    found: dict[str, Json] = {"match": rule.match, "points": [_hex(point) for point in rule.points]}
    return found if rule.outside is None else {**found, "outside": _hex(rule.outside)}


def _hex(point: tuple[float, ...]) -> Json:
    return [hex_float(number) for number in point]


def _decode(value: Json) -> Value:
    if isinstance(value, list):
        return tuple(from_hex(number) for number in value)
    if isinstance(value, dict) and "rules" in value:
        return Rules(tuple(_decoded(rule) for rule in value["rules"]))
    if isinstance(value, dict):
        return from_hex(value["float"])
    if isinstance(value, bool | str | int):
        return value
    raise LabError(f"expected a parameter value, got {value!r}")


def _decoded(rule: Json) -> Rule:
    outside = _unhex(rule["outside"]) if "outside" in rule else None
    return Rule(rule["match"], tuple(_unhex(point) for point in rule["points"]), outside)


def _unhex(point: Json) -> tuple[float, ...]:
    return tuple(from_hex(number) for number in point)
