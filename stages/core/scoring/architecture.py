"""Fresh models from a configuration, before any weight is loaded."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from stages.core.errors import LabError


def build(config: Mapping[str, Any]) -> torch.nn.Module:
    """Float32 Llama causal language model in evaluation mode, from the content of a config.json.

    Its weights are whatever the initialiser left: load a state dict before use. The dtype that the
    configuration names is ignored, because it says how weights are stored.
    Raises LabError if `model_type` is not llama.
    """
    if config.get("model_type") != "llama":
        raise LabError(f"cannot build a model of type '{config.get('model_type')}': expected 'llama'.")
    settings = {key: value for key, value in config.items() if key not in ("dtype", "torch_dtype")}
    model: torch.nn.Module = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    return model.float().eval()
