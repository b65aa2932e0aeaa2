"""tokenizer.json as huggingface/tokenizers reads it: its parts, and how much of each is in use.

A tokenizer is a program: it takes texts apart by regular expressions and puts others in their place. What it
costs on some text is not told here; that one small file makes a large one, is.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Final

from stages.core.records.canonical import Json

KINDS: Final = ("BPE", "Unigram", "WordLevel", "WordPiece")
MOST_TOKENS: Final = 1 << 20  # the largest vocabularies in use have 262,144
MOST_MERGES: Final = 1 << 20  # 514,906
MOST_ADDED: Final = 1 << 16  # 6,400
MOST_CHARACTERS: Final = 1 << 12  # of a token; runs of spaces of 512 are in use
MOST_STEPS: Final = 64  # of normalising, splitting, decoding and dressing together; 10
MOST_PATTERN: Final = 1 << 12  # characters of a regular expression; 500
MOST_GROWTH: Final = 1 << 8  # times that a normalizer may lengthen a text: by each step, multiplied
MOST_LENGTH: Final = 1 << 24  # tokens that a text is padded or cut to
PARTS: Final = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
Faults = Iterator[tuple[str, str]]


def faults(tree: Json) -> Faults:
    """(code, what) of everything in a tokenizer.json that no tokenizer in use has.

    One without a model is nobody's tokenizer, and harms nobody: content.py refuses it where one is required.
    Codes: `tokenizer-model` (unknown kind), `tokenizer-vocabulary`, `tokenizer-merges`, `tokenizer-added`,
    `tokenizer-steps` (steps, regular expressions, growth), `tokenizer-length` (padding, truncation).
    """
    model = tree.get("model", {})
    if not isinstance(model, dict):
        yield "tokenizer-model", "has a model that is no object."
    elif model:
        if (kind := model.get("type", "BPE")) not in KINDS:
            yield "tokenizer-model", f"has a model of type {str(kind)[:40]!a}; expected {', '.join(KINDS)}."
        yield from vocabulary_faults(model.get("vocab"))
        yield from _merge_faults(model.get("merges", []))
    yield from added_faults(tree.get("added_tokens") or [])
    yield from _step_faults([tree.get(part) for part in PARTS])
    yield from _length_faults(tree)


def vocabulary_faults(vocabulary: Json) -> Faults:
    """Of a map from tokens to ids, or of pairs of token and score (Unigram)."""
    pairs = vocabulary.items() if isinstance(vocabulary, dict) else vocabulary
    if not isinstance(vocabulary, dict | list) or not all(_is_pair(pair) for pair in pairs):
        yield "tokenizer-vocabulary", "has a vocabulary that is no map from tokens to numbers."
        return
    if len(vocabulary) > MOST_TOKENS:
        yield "tokenizer-vocabulary", f"has {len(vocabulary)} tokens; the limit is {MOST_TOKENS}."
    longest = max((len(token) for token, _ in pairs), default=0)
    if longest > MOST_CHARACTERS:
        yield "tokenizer-vocabulary", f"has a token of {longest} characters; the limit is {MOST_CHARACTERS}."
    if isinstance(vocabulary, dict) and not all(_is_id(number) for number in vocabulary.values()):
        yield "tokenizer-vocabulary", f"gives a token an id that is no whole number below {MOST_TOKENS * 4}."


def added_faults(added: Json) -> Faults:
    """Of a list of added tokens, each an object with its content."""
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        yield "tokenizer-added", "has added tokens that are no list of objects."
        return
    if len(added) > MOST_ADDED:
        yield "tokenizer-added", f"adds {len(added)} tokens; the limit is {MOST_ADDED}."
    for token in added:
        content = token.get("content")
        if not isinstance(content, str) or not 0 < len(content) <= MOST_CHARACTERS:
            yield "tokenizer-added", f"adds a token of no text, or of more than {MOST_CHARACTERS} characters."
        elif not _is_id(token.get("id", 0)):
            yield "tokenizer-added", f"gives the added token {content[:40]!a} the id {str(token['id'])[:40]}."


def _merge_faults(merges: Json) -> Faults:
    if not isinstance(merges, list) or not all(_is_merge(merge) for merge in merges):
        yield "tokenizer-merges", "has merges that are no list of pairs of tokens."
    elif len(merges) > MOST_MERGES:
        yield "tokenizer-merges", f"has {len(merges)} merges; the limit is {MOST_MERGES}."


def _step_faults(parts: list[Json]) -> Faults:
    """Of all objects in the parts: each with a `type` is a step."""
    objects = [one for part in parts for one in _objects(part)]
    steps = [one for one in objects if "type" in one]
    if len(steps) > MOST_STEPS:
        yield "tokenizer-steps", f"works in {len(steps)} steps; the limit is {MOST_STEPS}."
    patterns = [one["Regex"] for one in objects if "Regex" in one]
    longest = max((len(pattern) if isinstance(pattern, str) else 0 for pattern in patterns), default=0)
    if longest > MOST_PATTERN:
        yield (
            "tokenizer-steps",
            f"has a regular expression of {longest} characters; the limit is {MOST_PATTERN}.",
        )
    growth = prod(_growth(step) for step in _objects(parts[0]))
    if growth > MOST_GROWTH:
        yield "tokenizer-steps", f"has a normalizer that makes a text {growth} times as long."


def _growth(step: Mapping[str, Json]) -> int:
    """How many characters one character may become: of a step that puts in a text of its own."""
    content = step.get("content", step.get("prepend"))
    return max(1, len(content)) if isinstance(content, str) else 1


def _length_faults(tree: Json) -> Faults:
    for part in ("padding", "truncation"):
        for one in _objects(tree.get(part)):
            for key, value in one.items():
                if isinstance(value, int | float) and not 0 <= value <= MOST_LENGTH:
                    yield "tokenizer-length", f"sets {part}.{key[:40]} to {str(value)[:40]}."


def _objects(value: Json) -> Iterator[Mapping[str, Json]]:
    """Every object in a value, itself included."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _is_pair(pair: Json) -> bool:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
        return False
    return isinstance(pair[1], int | float) and not isinstance(pair[1], bool)


def _is_id(number: Json) -> bool:
    return type(number) is int and 0 <= number < MOST_TOKENS * 4


def _is_merge(merge: Json) -> bool:
    if isinstance(merge, str):
        return len(merge) <= 2 * MOST_CHARACTERS + 1
    return isinstance(merge, list) and len(merge) == 2 and all(isinstance(token, str) for token in merge)
