"""Whether checkpoints that no eligibility stage has judged compute with the same tokens and the same layers.

Equal shapes are not enough: another RoPE base, other heads or a permuted vocabulary merge without a murmur.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from stages.core.errors import LabError
from stages.core.records.canonical import Json, read_json

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
DECIDING: Final = (  # keys of config.json that change what equal tensors compute
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "layer_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "partial_rotary_factor",
    "sliding_window",
    "tie_word_embeddings",
    "vocab_size",
)


def differences(models: Mapping[str, Mapping[str, Json]], *, but: Collection[str] = ()) -> list[str]:
    """A sentence for every setting and token in which a checkpoint differs from the first; [] if none does.

    models: by name, in order, each the JSON objects of its files. What one lacks is not compared.
    but: settings that may differ.
    """
    names = list(models)
    configs = {name: models[name].get(CONFIG) for name in names}
    tokens = {name: _tokens_of(models[name].get(TOKENIZER)) for name in names}
    found: list[str] = []
    for name in names[1:]:
        found += _settings(names[0], configs[names[0]], name, configs[name], but)
        found += _tokens(names[0], tokens[names[0]], name, tokens[name])
    return found


def token_ids(folder: Path) -> dict[str, int] | None:
    """Token → id of tokenizer.json, added tokens too; None where there is no such file or no vocabulary.

    Raises LabError for one that is no JSON object.
    """
    return _tokens_of(_object(folder / TOKENIZER))


def _tokens_of(tree: Json) -> dict[str, int] | None:
    tree = tree or {}
    model = tree.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, list):  # unigram: pairs of token and score, in the order of ids
        vocabulary = {str(pair[0]): number for number, pair in enumerate(vocabulary) if pair}
    if not isinstance(vocabulary, dict):
        return None
    added = [token for token in tree.get("added_tokens") or [] if isinstance(token, dict)]
    return vocabulary | {str(token.get("content")): token.get("id") for token in added}


def _settings(first: str, expected: Json, name: str, got: Json, but: Collection[str]) -> Iterator[str]:
    if expected is None or got is None:
        return
    for key in DECIDING:
        if key not in but and expected.get(key) != got.get(key):
            yield f"{name}: config.json says {key} {got.get(key)!r}, that of {first} {expected.get(key)!r}"


def _tokens(
    first: str, expected: Mapping[str, int] | None, name: str, got: Mapping[str, int] | None
) -> Sequence[str]:
    if expected is None or got is None or expected == got:
        return []
    other = [token for token in sorted(expected.keys() | got.keys()) if expected.get(token) != got.get(token)]
    example = f"{other[0]!r} is {got.get(other[0])} there, {expected.get(other[0])} in {first}"
    return [f"{name}: {len(other)} tokens have another id than in {first} ({example})"]


def _object(path: Path) -> Json:
    """The JSON object of a file; None if there is no file."""
    if not path.is_file():
        return None
    tree = read_json(path)
    if not isinstance(tree, dict):
        raise LabError(f"{path}: expected a JSON object, got {str(tree)[:80]!r}")
    return tree
