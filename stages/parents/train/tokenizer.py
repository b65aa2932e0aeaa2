"""One token per character: printable ASCII, the newline, padding and unknown.

Character tokens make prompt and answer separable: the tokens of both together are the tokens of each, joined.
No token marks a beginning; the newline ends an answer, so it is the end-of-sequence token.
"""

import json
from pathlib import Path
from typing import Any, Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

PADDING, UNKNOWN, NEWLINE = 0, 1, 2
CHARACTERS: Final = ("<pad>", "<unk>", "\n", *(chr(code) for code in range(32, 127)))
IDS: Final = {character: index for index, character in enumerate(CHARACTERS)}
CONTEXT: Final = 256  # tokens


def encode(text: str) -> list[int]:
    """Token ids of `text`, one a character. Equal to what the written tokenizer.json gives."""
    return [IDS.get(character, UNKNOWN) for character in text]


def backend() -> Tokenizer:
    """The same vocabulary as a `tokenizers` object."""
    tokenizer = Tokenizer(models.WordLevel(vocab=dict(IDS), unk_token=CHARACTERS[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, the same bytes every time."""
    content: dict[str, Any] = json.loads(backend().to_str())
    # The vocabulary comes out of a hash map: put it back in order of ids.
    content["model"]["vocab"] = dict(IDS)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "eos_token": "\n",
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
    }
    for name, value in (("tokenizer.json", content), ("tokenizer_config.json", settings)):
        (folder / name).write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
