"""Fresh models from a configuration, before any weight is loaded."""

import stages.core.scoring.offline  # noqa: F401  transformers reads these settings when it is imported

# isort: split

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from stages.core.errors import LabError

DROPPED = (
    "dtype",
    "torch_dtype",
    "auto_map",
    "model_type",
)  # stored dtype, code that nobody may run, the key


def build(config: Mapping[str, Any]) -> torch.nn.Module:
    """Float32 causal language model in evaluation mode, from the content of a config.json.

    Its weights are whatever the initialiser left: load a state dict before use. The dtype that the
    configuration names is ignored, because it says how weights are stored.
    Raises LabError if no causal language model of transformers has that `model_type`.
    """
    kind = config.get("model_type")
    settings = {key: value for key, value in config.items() if key not in DROPPED}
    try:
        model: torch.nn.Module = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    except (ValueError, KeyError) as problem:
        words = str(problem).splitlines()[0]
        raise LabError(
            f"cannot build a model of type '{kind}': {words}. Give a causal language model of transformers."
        ) from problem
    return model.float().eval()


def longest_input(module: Any) -> int:
    """Tokens that a model built here takes at once; 2048 where its configuration does not say."""
    config = module.config.get_text_config()
    found = (getattr(config, name, None) for name in ("n_positions", "max_position_embeddings", "n_ctx"))
    return next((length for length in found if isinstance(length, int)), 2048)
