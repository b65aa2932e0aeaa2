"""A config.json that claims more than the tensors hold: whoever builds the model would run out of memory."""

from collections.abc import Iterator, Sequence
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.problem import Problem, problem

CONFIG: Final = "config.json"
LAYERS: Final = frozenset(  # each has a tensor at least, even where layers share all but their norms
    {"num_hidden_layers", "num_layers", "n_layer", "n_layers"}
)
EXTENTS: Final = frozenset(  # each is an extent of some tensor, or part of one where matrices are fused
    {"hidden_size", "intermediate_size", "vocab_size", "n_embd", "d_model", "d_ff", "ffn_dim", "n_inner"}
)
COUNTS: Final = frozenset(
    {
        *(
            "num_attention_heads",
            "num_key_value_heads",
            "n_head",
            "head_dim",
            "num_experts",
            "num_local_experts",
        ),
        *("n_routed_experts", "num_experts_per_tok", "type_vocab_size", "num_labels"),
    }
)
MOST_COUNT: Final = 1 << 16
MOST_POSITIONS: Final = 1 << 24  # the longest contexts in use are 10 million tokens
POSITIONS: Final = frozenset({"max_position_embeddings", "n_positions", "sliding_window", "max_seq_len"})


def beyond(config: Json, shapes: Sequence[tuple[int, ...]]) -> Iterator[Problem]:
    """Sizes in a configuration (sub-models included) that no such tensors can have. Code: `config-size`."""
    extent = max((extent for shape in shapes for extent in shape), default=0)
    limits = {
        **dict.fromkeys(LAYERS, len(shapes)),
        **dict.fromkeys(EXTENTS, extent),
        **dict.fromkeys(COUNTS, MOST_COUNT),
        **dict.fromkeys(POSITIONS, MOST_POSITIONS),
    }
    for key, value in _settings(config):
        limit = limits.get(key)
        if limit is None or value is None:
            continue
        if isinstance(value, int | float) and not 0 <= value <= limit:
            why = f"expected 0 to {limit}"
            why += ", by its tensors" if key in LAYERS | EXTENTS else ""
            yield problem("config-size", CONFIG, f"claims {key} {str(value)[:40]}; {why}.")


def _settings(config: Json) -> Iterator[tuple[str, Json]]:
    """Keys with their values, of the configuration and of the ones in it."""
    waiting = [config]
    while waiting:
        for key, value in waiting.pop().items():
            yield key, value
            if isinstance(value, dict):
                waiting.append(value)
