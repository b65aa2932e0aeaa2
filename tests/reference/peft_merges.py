"""How tests/reference/adapters was made: tiny models and adapters, merged by PEFT itself.

    pip install peft==0.21.2 torch==2.13.0 transformers==5.23.0
    python -m tests.reference.peft_merges

PEFT is no dependency of the tests: they read what this wrote. Numbers are fractions of small integers, so
that no generator takes part; those of B are small, as an adapter's are: with B as large as W, PEFT's float32
ends up to 2 ulp from the exact sum. Per case: base/ and adapter/ as their libraries save them,
merged.safetensors as `merge_and_unload` leaves the model.
"""

import json
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).with_name("adapters")
LLAMA: dict[str, Any] = {
    "vocab_size": 12, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 16,
    "tie_word_embeddings": False,
}  # fmt: skip
GPT2: dict[str, Any] = {
    "vocab_size": 12,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 16,
    "n_inner": 12,
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"model": "llama", "dtype": "float32", "lora": {
        "r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj", "down_proj"]}},
    "patterns": {"model": "llama", "dtype": "float32", "lora": {
        "r": 2, "lora_alpha": 4, "use_rslora": True, "target_modules": ["q_proj", "up_proj", "embed_tokens"],
        "rank_pattern": {"layers.1.self_attn.q_proj": 5}, "alpha_pattern": {"up_proj": 7},
        "modules_to_save": ["lm_head"]}},
    "bfloat16": {"model": "llama", "dtype": "bfloat16", "lora": {
        "r": 3, "lora_alpha": 6, "target_modules": ["o_proj", "gate_proj"]}},
    "conv1d": {"model": "gpt2", "dtype": "float32", "lora": {
        "r": 2, "lora_alpha": 3, "fan_in_fan_out": True, "target_modules": ["c_attn", "c_fc"]}},
}  # fmt: skip


def fraction(count: int, salt: int) -> Any:
    """`count` numbers between -1 and 1 with 24 bits that matter, and no pattern in them."""
    import torch

    return torch.tensor(
        [((n + 1) * 2654435761 + salt * 40503) % (1 << 24) / (1 << 23) - 1 for n in range(count)],
        dtype=torch.float64,
    )


def fill(parameters: Any, salt: int) -> None:
    """Give every parameter numbers of its own."""
    import torch

    with torch.no_grad():
        for number, (name, tensor) in enumerate(sorted(parameters, key=lambda one: one[0])):
            size = 1 / 16 if "_B" in name else 1
            tensor.copy_(size * fraction(tensor.numel(), salt + number).reshape(tensor.shape))


def make(name: str, case: dict[str, Any]) -> None:
    """Write one case."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    if case["model"] == "llama":
        model: Any = LlamaForCausalLM(LlamaConfig(**LLAMA))
    else:
        model = GPT2LMHeadModel(GPT2Config(**GPT2))
    model = model.to(getattr(torch, case["dtype"]))
    fill(model.named_parameters(), 1)
    model.save_pretrained(folder / "base")
    (folder / "base/generation_config.json").unlink()
    adapted = get_peft_model(model, LoraConfig(**case["lora"]))
    fill(((n, p) for n, p in adapted.named_parameters() if "lora_" in n or "modules_to_save" in n), 1000)
    adapted.save_pretrained(folder / "adapter", save_embedding_layers=False)
    (folder / "adapter/README.md").unlink()
    merged = adapted.merge_and_unload()
    state = {key: tensor.contiguous() for key, tensor in merged.state_dict().items()}
    if merged.config.tie_word_embeddings:
        del state["lm_head.weight"]
    save_file(state, folder / "merged.safetensors", {"format": "pt"})
    config = json.loads((folder / "adapter/adapter_config.json").read_text())
    config["target_modules"] = sorted(config["target_modules"])  # a set: its order is chance
    (folder / "adapter/adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    for one, how in CASES.items():
        make(one, how)
