"""Text to token ids and back, cut where lm-eval cuts it."""

import stages.core.scoring.offline  # noqa: F401  transformers reads these settings when it is imported

# isort: split

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from stages.core.errors import LabError
from stages.core.records.canonical import Json, read_json

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
FROM_CONFIG = (
    "bos_token",
    "eos_token",
)  # that config.json names by id where the tokenizer's file says nothing


def load_tokenizer(directory: Path) -> Any:
    """The fast tokenizer of tokenizer.json with the special tokens that tokenizer_config.json names.

    Decoding never tidies white space: text must come back as it went in.
    Raises LabError if a file is missing or is no tokenizer.
    """
    settings = read_json(directory / "tokenizer_config.json")
    special = {key: text for key in SPECIAL_TOKENS if (text := _text(settings.get(key))) is not None}
    path = directory / "tokenizer.json"
    try:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(path), clean_up_tokenization_spaces=False, name_or_path="", **special
        )
    except Exception as problem:  # the tokenizers library raises bare Exception for any bad file
        raise LabError(f"{path} is no tokenizer: {problem}. Restore the file.") from problem
    config = read_json(directory / "config.json") if (directory / "config.json").is_file() else {}
    for key in FROM_CONFIG:
        number = config.get(f"{key}_id")
        if key not in settings and isinstance(number, int) and 0 <= number < len(tokenizer):
            setattr(tokenizer, key, tokenizer.convert_ids_to_tokens(number))
    return tokenizer


def prefix_id(tokenizer: Any) -> int | None:
    """The token that stands before a text whose every token is scored; None where the tokenizer has none."""
    found: int | None = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return found


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids, with the special tokens that the tokenizer adds, unless `text` already begins with them."""
    first = prefix_id(tokenizer)
    begun = first is not None and text.startswith(tokenizer.decode(first))
    found: list[int] = tokenizer.encode(text, add_special_tokens=not begun)
    return found


def encode_pair(tokenizer: Any, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the answer after it, as lm-eval cuts them.

    Both are encoded together; white space at the prompt's end belongs to the answer. An empty prompt is the
    tokenizer's first token. Raises LabError if it has none then, or if nothing of the answer is left.
    """
    if prompt:
        context = encode(tokenizer, prompt.rstrip()) if prompt.rstrip() else _first(tokenizer)
        after = encode(tokenizer, prompt + answer)[len(context) :]
    else:
        context, after = _first(tokenizer), tokenizer.encode(answer, add_special_tokens=False)
        if after[:1] == context:
            after = after[1:]
    if not context or not after:
        raise LabError(f"no token is left of the answer {answer!r} after the prompt {prompt[-40:]!r}")
    return context, after


def windows(tokenizer: Any, text: str, longest: int) -> Iterator[tuple[list[int], list[int]]]:
    """(context, what is scored after it), each token of `text` scored once and at most `longest` a pass.

    A text that is longer than the context goes on in a new window after its last token, as lm-eval has it.
    Raises LabError for a tokenizer without a first token.
    """
    ids = encode(tokenizer, text)
    yield _first(tokenizer), ids[:longest]
    for start in range(longest, len(ids), longest):
        after = ids[start : start + longest]
        before = start + len(after) - longest - 1  # the last window reaches back, to be full
        yield ids[before:start], after


def ends_of(tokenizer: Any, config: Mapping[str, Json]) -> frozenset[int]:
    """Ids of the tokens after which nothing is said: those of config.json and the tokenizer's own."""
    named = config.get("eos_token_id")
    ids = named if isinstance(named, list) else [named]
    return frozenset(number for number in (*ids, tokenizer.eos_token_id) if isinstance(number, int))


def _first(tokenizer: Any) -> list[int]:
    first = prefix_id(tokenizer)
    if first is None:
        raise LabError("the tokenizer names no bos_token and no eos_token: nothing can stand before a text")
    return [first]


def _text(token: Json) -> str | None:
    """A special token of tokenizer_config.json, which names it or describes it."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None
