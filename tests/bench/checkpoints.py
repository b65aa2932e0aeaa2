"""Llama-shaped bfloat16 checkpoints for measuring: a base and its fine-tunes, from a counter-based generator.

Weights are sums of four uniform draws (nearly normal, no libm), a fine-tune moves by about 2 % of a weight:
its bfloat16 differences take few values, as real ones do, and many are zero.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.weights import header

CHUNK = 1 << 20  # elements made at a time; part of what a seed means
SPREAD, MOVED = 0.02, 0.0004  # standard deviations of a weight and of a fine-tune's step
VOCABULARY = 32000
Numbers = np.ndarray[Any, np.dtype[Any]]


def shapes(bytes_wanted: float) -> dict[str, tuple[int, ...]]:
    """Tensors of a Llama of about that size in bfloat16: head, embedding and as many layers as fit."""
    widths = (2048, 1024, 512, 256, 64)  # the greatest at which head and embedding are at most half of it
    hidden = next(h for h in widths if h == widths[-1] or bytes_wanted >= 8 * VOCABULARY * h)
    vocabulary = VOCABULARY if hidden > 64 else 512
    inner, narrow = hidden * 11 // 4, hidden // 4
    layer = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (narrow, hidden),
        "self_attn.v_proj": (narrow, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    left = bytes_wanted / 2 - 2 * vocabulary * hidden
    for place in range(max(1, round(left / sum(map(prod, layer.values()))))):
        found |= {f"model.layers.{place}.{name}.weight": shape for name, shape in layer.items()}
    found |= {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}
    return dict(sorted(found.items()))  # the order in which safetensors saves tensors of one type


def build(folder: Path, member: int, tensors: dict[str, tuple[int, ...]]) -> Path:
    """Write the base (member 0) or a fine-tune of it as `folder`/model.safetensors; returns `folder`."""
    folder.mkdir(parents=True)
    head, _ = header.write((name, "bfloat16", shape) for name, shape in tensors.items())
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(head)
        for place, shape in enumerate(tensors.values()):
            for block in _blocks(member, place, prod(shape)):
                stream.write(block.tobytes())
    return folder


def _blocks(member: int, place: int, count: int) -> Iterator[Numbers]:
    base = np.random.Philox(key=[0, place])
    step = np.random.Philox(key=[member, place])
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        values = _nearly_normal(base, size) * np.float32(SPREAD)
        if member:
            values = _bfloat16(values).astype(np.uint32) << 16
            values = values.view(np.float32) + _nearly_normal(step, size) * np.float32(MOVED)
        yield _bfloat16(values)


def _nearly_normal(source: np.random.Philox, count: int) -> Numbers:
    """float32 [count] of mean 0 and variance 1: four 16-bit draws, exact in float32, scaled once."""
    draws = source.random_raw(count).view(np.uint16).reshape(-1, 4).astype(np.int32).sum(axis=1)
    return (draws - 2 * 65535).astype(np.float32) * np.float32(1 / 37837.0)  # sqrt(4 * 65536^2 / 12)


def _bfloat16(values: Numbers) -> Numbers:
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
