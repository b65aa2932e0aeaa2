"""Artifacts for tests: a character-level Llama of 12,000 parameters, its tokenizer and its manifest."""

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from stages.core.records import manifest
from stages.core.records.canonical import write_json
from stages.core.scoring.architecture import build
from stages.core.scoring.cases import write_cases
from stages.core.scoring.skills.items import Item

CHARACTERS = ["<pad>", "</s>", "<unk>", "\n", *string.printable[:95]]
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": len(CHARACTERS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "dtype": "bfloat16",
}


def tiny(folder: Path, seed: int, **changed: object) -> Path:
    """`folder` with a model of that seed, stored in bfloat16; `changed`: keys of its configuration."""
    folder.mkdir(parents=True)
    config = CONFIG | changed
    write_tokenizer(folder, CHARACTERS)
    write_json(folder / "config.json", config)
    torch.manual_seed(seed)
    # weights much larger than the initialiser's, so that models differ in what they answer
    state = {name: 3 * tensor for name, tensor in build(config).named_parameters()}
    write_weights(folder, state)
    return folder


def write_weights(folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Store `state` in bfloat16 and write the manifest anew."""
    stored = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in state.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    seal(folder)


def change(folder: Path, name: str, new: torch.Tensor | None) -> None:
    """Replace, add or (None) remove one stored tensor, and write the manifest anew."""
    state = load_file(folder / "model.safetensors")
    state.pop(name, None)
    write_weights(folder, state if new is None else state | {name: new})


def write_tokenizer(folder: Path, characters: Sequence[str]) -> None:
    """One token per character, in the order of `characters`."""
    words = {character: index for index, character in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | special))


def seal(folder: Path) -> str:
    """Write the manifest of what lies there now; its digest."""
    found = manifest.describe(folder)
    write_json(folder / manifest.NAME, found.to_json())
    return found.digest


def item(prompt: str, answer: str, pair: str | None = None) -> Item:
    """A case about nothing in particular."""
    return Item("toy", 0, prompt, answer, pair)


def write_split(folder: Path, tasks: Mapping[str, Sequence[Item]]) -> Path:
    """Case files of one split."""
    write_cases(folder, tasks)
    return folder
