"""Small JSON files: one reading for every reader, no request for code, no more of anything than is in use.

Limits are several times what the largest models in common use have; the number is beside each.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import Json
from stages.core.records.problem import Problem, problem, refused
from stages.core.weights import header
from stages.core.weights.reader import INDEX
from stages.core.weights.scan import tokenizer

MAX_DEPTH: Final = 64  # configurations and tokenizers in use stay under 12
CHAT_TEMPLATE_CHARACTERS: Final = 1 << 16  # the longest in common use are under 20,000
ASKS_FOR_CODE: Final = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})
VALUES: Final = 1 << 16  # of a file that is not listed next, and the characters of one text in it
MOST_VALUES: Final[Mapping[str, int]] = {
    "tokenizer.json": 1 << 22,  # 256,000 tokens and 515,000 merges in pairs are 2.1 million
    "vocab.json": 1 << 20,
    "added_tokens.json": 1 << 18,
    "tokenizer_config.json": 1 << 18,
    INDEX: 1 << 18,  # 100,000 tensors
}
MOST_CHARACTERS: Final[Mapping[str, int]] = {
    "tokenizer.json": 1 << 22,  # a table of characters in base64 takes 400,000
    "tokenizer_config.json": 1 << 20,  # a template that is too long is named as such
}
GENERATION: Final[Mapping[str, int]] = {  # what a generation may be told to do, times the memory of one
    "max_length": 1 << 24,
    "max_new_tokens": 1 << 24,
    "min_length": 1 << 24,
    "min_new_tokens": 1 << 24,
    "num_beams": 1 << 8,
    "num_beam_groups": 1 << 8,
    "num_return_sequences": 1 << 8,
}


@dataclass(frozen=True)
class _Walked:
    """What is in a tree. longest: characters of its longest text. endless: whether a number is beyond all."""

    keys: frozenset[str]
    depth: int
    values: int
    longest: int
    endless: bool


def parsed(name: str, data: bytes) -> tuple[Json, list[Problem]]:
    """The JSON object of the file `name`, None if it is none; and everything that is wrong with it.

    Codes: `json`, `json-depth`, `json-size`, `remote-code`, `chat-template`, `generation`, those of
    tokenizer.py.
    """
    most = MOST_VALUES.get(name, VALUES)
    if sum(map(data.count, (b",", b"[", b"{"))) > 2 * most:  # texts may hold some
        return None, [problem("json-size", name, f"holds more than {most} values.")]
    try:
        tree = header.tree(data.strip(), name, "json")
    except BadCheckpoint as refusal:
        return None, [refused(refusal, name)]
    found = _walk(tree)
    if found.depth > MAX_DEPTH:
        return None, [problem("json-depth", name, f"is nested {found.depth} deep; the limit is {MAX_DEPTH}.")]
    return tree, [problem(code, name, what) for code, what in _faults(name, tree, found)]


def _faults(name: str, tree: Json, found: _Walked) -> Iterator[tuple[str, str]]:
    if found.values > (most := MOST_VALUES.get(name, VALUES)):
        yield "json-size", f"holds {found.values} values; the limit is {most}."
    if found.longest > (most := MOST_CHARACTERS.get(name, VALUES)):
        yield "json-size", f"holds a text of {found.longest} characters; the limit is {most}."
    if found.endless:
        yield "json", "holds a number beyond all counting."
    for key in sorted(ASKS_FOR_CODE & found.keys):
        yield "remote-code", f"has the key {key!r}, which asks for code. Remove it."
    if check := CHECKS.get(name):
        yield from check(tree)


def _chat_template(tree: Json) -> Iterator[tuple[str, str]]:
    """Its templates, one text or several: only a worker with limits renders them."""
    if _characters(tree.get("chat_template")) > CHAT_TEMPLATE_CHARACTERS:
        yield "chat-template", f"has a chat template over {CHAT_TEMPLATE_CHARACTERS} characters."


def _characters(value: Json) -> int:
    """Characters of all texts in a value."""
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_characters, inner))


def _tokenizer_config(tree: Json) -> Iterator[tuple[str, str]]:
    yield from _chat_template(tree)
    added = tree.get("added_tokens_decoder", {})
    if not isinstance(added, dict):
        yield "tokenizer-added", "has added_tokens_decoder that is no map of tokens."
    else:
        yield from tokenizer.added_faults(list(added.values()))


def _special_tokens(tree: Json) -> Iterator[tuple[str, str]]:
    """A name, an object with `content`, or a list of either, each as short as a token is."""
    for key, value in tree.items():
        for one in value if isinstance(value, list) else [value]:
            text = one.get("content") if isinstance(one, dict) else one
            if not isinstance(text, str) or len(text) > tokenizer.MOST_CHARACTERS:
                yield (
                    "tokenizer-added",
                    f"gives {key[:80]!a} no token of {tokenizer.MOST_CHARACTERS} characters at most.",
                )


def _vocabulary(tree: Json) -> Iterator[tuple[str, str]]:
    yield from tokenizer.vocabulary_faults(tree)


def _generation(tree: Json) -> Iterator[tuple[str, str]]:
    for key, limit in GENERATION.items():
        value = tree.get(key)
        if isinstance(value, int | float) and value > limit:
            yield "generation", f"sets {key} to {str(value)[:40]}; the limit is {limit}."


CHECKS: Final[Mapping[str, Callable[[Json], Iterator[tuple[str, str]]]]] = {
    "tokenizer.json": tokenizer.faults,
    "tokenizer_config.json": _tokenizer_config,
    "special_tokens_map.json": _special_tokens,
    "vocab.json": _vocabulary,
    "added_tokens.json": _vocabulary,
    "generation_config.json": _generation,
}


def _walk(tree: Json) -> _Walked:
    """One pass, level by level: a tree as deep as a reader takes would end a function that calls itself."""
    keys: set[str] = set()
    level, depth, values, longest, endless = [tree], 0, 0, 0, False
    while level:
        depth += 1
        inner: list[Json] = []
        for node in level:
            if isinstance(node, dict):
                keys.update(node)
                inner += node.values()
            elif isinstance(node, list):
                inner += node
            elif isinstance(node, str):
                longest = max(longest, len(node))
            elif isinstance(node, float) and not math.isfinite(node):
                endless = True
        values += len(inner)
        level = inner
    return _Walked(frozenset(keys), depth, values, max([longest, *map(len, keys)]), endless)
