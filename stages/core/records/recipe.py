"""A candidate is its recipe: what enters its identity, and nothing else does.

| field | enters the id because |
|---|---|
| base, parents | digests of the exact bytes merged, in the order listed |
| method, method_version | the arithmetic asked for |
| parameters | every coefficient and option, resolved; floats as exact hex |
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

Value: TypeAlias = float | int | bool | str | tuple[float, ...]


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


def _encode(value: Value) -> Json:
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, tuple):
        return [hex_float(number) for number in value]
    return {"float": hex_float(value)}


def _decode(value: Json) -> Value:
    if isinstance(value, list):
        return tuple(from_hex(number) for number in value)
    if isinstance(value, dict):
        return from_hex(value["float"])
    if isinstance(value, bool | str | int):
        return value
    raise LabError(f"expected a parameter value, got {value!r}")
