"""Tool calls: one JSON object that names its tool, is valid under the tool's schema and asks what was wanted.

An item that wants no call has the stratum call=none; every other item wants the call that its answer is.
What cannot be measured is None: a text for an item without call is neither valid nor not, only spurious or
not.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stages.core.records.canonical import Json
from stages.core.scoring.judges.outcome import BadSettings, Judge, Judgement, Settings, only, stratum
from stages.core.scoring.skills.items import Item

MEASURES = ("valid_json", "schema_valid", "right_tool", "right_arguments", "spurious")


def judge(settings: Settings) -> Judge:
    """call: the key that names the tool, "tool" unless given; tools: tool → JSON schema of its whole call.

    valid_json: the text is one JSON object; schema_valid: and valid under the schema of the tool it names;
    right_tool, right_arguments: those of the answer. Correct is all four, or no call where none is wanted.
    Raises BadSettings for schemas that are none.
    """
    only(settings, "call", "tools")
    name, schemas = settings.get("call", "tool"), settings.get("tools")
    if not isinstance(schemas, dict) or not schemas:
        raise BadSettings("tools: expected tool → JSON schema")
    valid = {tool: _validator(tool, schema) for tool, schema in schemas.items()}

    def judged(said: str, item: Item) -> Judgement:
        call = call_of(said)
        if stratum(item, "call") == "none":
            spurious = call is not None and name in call
            return Judgement(not spurious, dict.fromkeys(MEASURES[:-1]) | {"spurious": spurious})
        wanted = call_of(item.answer) or {}
        found: Mapping[str, Json] = {} if call is None else call
        tool = found.get(name)
        seen = {
            "valid_json": call is not None,
            "schema_valid": isinstance(tool, str) and tool in valid and valid[tool](found),
            "right_tool": call is not None and _same(tool, wanted.get(name)),
            "right_arguments": call is not None and _same(_arguments(found, name), _arguments(wanted, name)),
        }
        return Judgement(all(seen.values()), {**seen, "spurious": None})

    return judged


def call_of(text: str) -> dict[str, Json] | None:
    """The JSON object that `text` is, white space at both ends apart; None if it is none.

    A key that stands twice and numbers that JSON does not have (NaN) make it none.
    """
    try:
        tree = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")


def _arguments(call: Mapping[str, Json], name: str) -> dict[str, Json]:
    return {key: value for key, value in call.items() if key != name}


def _same(first: Json, second: Json) -> bool:
    """Equality as JSON has it: unlike in Python, true is not 1."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def _validator(tool: str, schema: Json) -> Callable[[Any], bool]:
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry

    if any(not place.startswith("#") for place in _references(schema)):
        raise BadSettings(f"tools.{tool}: a $ref leads to another file; write the schema out")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as problem:
        raise BadSettings(f"tools.{tool} is no JSON schema: {problem.message}") from problem
    # an empty registry: a reference to another place is an error, never a download
    found: Callable[[Any], bool] = Draft202012Validator(schema, registry=Registry()).is_valid
    return found


def _references(schema: Json) -> Iterator[str]:
    """Where the $refs of a schema lead."""
    if isinstance(schema, dict):
        yield from (str(place) for key, place in schema.items() if key in ("$ref", "$dynamicRef"))
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in inner:
        yield from _references(part)
