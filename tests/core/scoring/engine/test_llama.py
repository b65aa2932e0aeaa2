from typing import Any

import pytest
import torch
from transformers import DynamicCache

from stages.core.scoring.architecture import build
from stages.core.scoring.engine.llama import forward_of
from tests.core.scoring.tiny import CONFIG

GROUPED = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
BIASED = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}
STRETCHED = {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}}
IDS = torch.randint(90, (9, 14), generator=torch.Generator().manual_seed(3))


def made(**changed: Any) -> Any:
    torch.manual_seed(2)
    module = build({**CONFIG, **changed}).requires_grad_(False)
    for parameter in module.parameters():
        parameter.add_(torch.randn(parameter.shape) / 4)  # the initialiser leaves biases 0 and norms 1
    return module


@pytest.mark.parametrize("changed", [{}, GROUPED, BIASED, STRETCHED])
def test_a_llama_from_the_beginning_gives_the_bits_of_transformers(changed: dict[str, Any]) -> None:
    module = made(**changed)
    assert forward_of(module) is not module
    assert torch.equal(forward_of(module)(IDS).logits, module(IDS, use_cache=False).logits)


@pytest.mark.parametrize("keep", [1, 3, 6])
def test_a_llama_asked_for_some_places_gives_the_logits_of_those(keep: int) -> None:
    module = made(**GROUPED)
    found = forward_of(module)(IDS, logits_to_keep=keep).logits
    # no equality of bits: on another CPU a product of fewer rows may be rounded otherwise
    torch.testing.assert_close(found, module(IDS).logits[:, -keep:], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("changed", [{}, GROUPED, BIASED, STRETCHED])
@pytest.mark.parametrize("rows", [1, 9])
def test_a_llama_behind_a_cache_with_gaps_gives_the_bits_of_transformers(
    changed: dict[str, Any], rows: int
) -> None:
    module = made(**changed)
    sizes = torch.arange(8, 8 - rows, -1).clamp(min=3)
    mask = torch.cat([torch.arange(8) < sizes[:, None], torch.ones(rows, 6, dtype=torch.bool)], dim=1).long()
    places = sizes[:, None] + torch.arange(6)
    logits, caches = [], []
    for run in (forward_of(module), module):
        cache = DynamicCache(config=module.config)
        run(IDS[:rows, :8], past_key_values=cache, use_cache=True, logits_to_keep=1)
        options = {"past_key_values": cache, "use_cache": True, "attention_mask": mask}
        logits.append(run(IDS[:rows, 8:], position_ids=places, logits_to_keep=6, **options).logits)
        caches.append([tensor for layer in cache.layers for tensor in (layer.keys, layer.values)])
    assert torch.equal(*logits)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*caches, strict=True))


@pytest.mark.parametrize("changed", [{"model_type": "mistral"}, {"hidden_act": "gelu"}])
def test_what_is_no_llama_of_the_usual_kind_runs_as_transformers_has_it(changed: dict[str, Any]) -> None:
    module = made(**changed)
    assert forward_of(module) is module
