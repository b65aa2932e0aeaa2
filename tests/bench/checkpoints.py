"""Llama-shaped bfloat16 checkpoints for measuring: a base and its fine-tunes, from a counter-based generator.

Weights are sums of four uniform draws (nearly normal, no libm), a fine-tune moves by about 2 % of a weight:
its bfloat16 differences take few values, as real ones do, and many are zero. Every folder has a config.json
and a small tokenizer, so that any tool for Hugging Face folders takes it for a model.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import LabError
from stages.core.weights import header
from tests.bench.floors import FILE

NAMES = ("base", "writer", "coder")  # folders of the base and of its two fine-tunes
CHUNK = 1 << 20  # elements made at a time; part of what a seed means
SPREAD, MOVED = 0.02, 0.0004  # standard deviations of a weight and of a fine-tune's step
WIDTHS = (4096, 2048, 1024, 512, 256, 128, 64)  # of the model; at least about eight layers fit
VOCABULARIES = (32000, 8000, 2000, 500)  # head and embedding take at most half
TOKENS = 256  # of the tokenizer: a tool that loads it should not be measured by that
SPARE = 2 << 30  # bytes left free on the disk
Numbers = np.ndarray[Any, np.dtype[Any]]
Shapes = dict[str, tuple[int, ...]]


def shapes(bytes_wanted: float) -> Shapes:
    """Tensors of a Llama of about that size in bfloat16: head, embedding and as many layers as fit."""
    hidden = next(width for width in WIDTHS if width == WIDTHS[-1] or bytes_wanted >= 190 * width * width)
    vocabulary = next(n for n in VOCABULARIES if n == VOCABULARIES[-1] or bytes_wanted >= 8 * n * hidden)
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
    found: Shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    left = bytes_wanted / 2 - 2 * vocabulary * hidden
    for place in range(max(1, round(left / sum(map(prod, layer.values()))))):
        found |= {f"model.layers.{place}.{name}.weight": shape for name, shape in layer.items()}
    found |= {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}
    return dict(sorted(found.items()))  # the order in which safetensors saves tensors of one type


def need_room(folder: Path, bytes_wanted: float, copies: int) -> None:
    """Raises LabError unless the disk of `folder` holds that many checkpoints of the size, and some more."""
    free, wanted = shutil.disk_usage(folder).free, bytes_wanted * copies + SPARE
    if free < wanted:
        raise LabError(
            f"{copies} checkpoints of {bytes_wanted / 1e9:g} GB need {wanted / 1e9:.1f} GB, some to spare, "
            f"got {free / 1e9:.1f} GB free in {folder}. Choose a smaller size, or another --folder."
        )


def build(root: Path, tensors: Shapes) -> tuple[Path, ...]:
    """Write the base and its fine-tunes under `root`, synced and thus in the page cache; their folders."""
    head, _ = header.write((name, "bfloat16", shape) for name, shape in tensors.items())
    folders = tuple(root / name for name in NAMES)
    with ExitStack() as stack:
        streams = []
        for folder in folders:
            folder.mkdir(parents=True)
            _describe(folder, tensors)
            streams.append(stack.enter_context((folder / FILE).open("wb")))
            streams[-1].write(head)
        for place, shape in enumerate(tensors.values()):
            for blocks in _blocks(place, prod(shape)):
                for stream, block in zip(streams, blocks, strict=True):
                    stream.write(block.data)
        for stream in streams:
            stream.flush()
            os.fsync(stream.fileno())
    return folders


def warm(folders: tuple[Path, ...]) -> None:
    """Read every checkpoint once, so that no run finds the page cache colder than the next."""
    for folder in folders:
        with (folder / FILE).open("rb") as stream:
            while stream.read(1 << 22):
                pass


def _blocks(place: int, count: int) -> Iterator[list[Numbers]]:
    """uint16 blocks of bfloat16 bits: of the base, then of each fine-tune."""
    sources = [np.random.Philox(key=[member, place]) for member in range(len(NAMES))]
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        base = _bfloat16(_nearly_normal(sources[0], size) * np.float32(SPREAD))
        wide = (base.astype(np.uint32) << 16).view(np.float32)
        yield [
            base,
            *(_bfloat16(wide + _nearly_normal(source, size) * np.float32(MOVED)) for source in sources[1:]),
        ]


def _nearly_normal(source: np.random.Philox, count: int) -> Numbers:
    """float32 [count] of mean 0 and variance 1: four 16-bit draws, exact in int32, scaled once."""
    draws = source.random_raw(count).view(np.uint16).reshape(-1, 4)
    total = draws[:, 0].astype(np.int32)
    for column in (1, 2, 3):
        total += draws[:, column]
    return (total - 2 * 65535).astype(np.float32) * np.float32(1 / 37837.0)  # sqrt(4 * 65536^2 / 12)


def _bfloat16(values: Numbers) -> Numbers:
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _describe(folder: Path, tensors: Shapes) -> None:
    """config.json as transformers writes one for these shapes, and a tokenizer of single words."""
    vocabulary, hidden = tensors["lm_head.weight"]
    width = min(128, hidden // 4)  # of one attention head
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": tensors["model.layers.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": sum(name.endswith("input_layernorm.weight") for name in tensors),
        "num_attention_heads": hidden // width,
        "num_key_value_heads": hidden // 4 // width,
        "head_dim": width,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "vocab_size": vocabulary,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }
    words = {"<s>": 0} | {f"word{number}": number for number in range(1, TOKENS)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": 0, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True,
            }
        ],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<s>"},
    }  # fmt: skip
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "<s>"}
    files = {"config.json": config, "tokenizer.json": tokenizer, "tokenizer_config.json": settings}
    for name, tree in files.items():
        (folder / name).write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
