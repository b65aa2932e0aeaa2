"""A parent of a few hundred bytes, written by hand: no torch, no safetensors library."""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
    "vocab_size": 5,
    "dtype": "float32",
}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [{"id": 0, "content": "<pad>", "special": True}],
    "normalizer": None,
    "pre_tokenizer": None,
    "model": {"type": "BPE", "vocab": {"<pad>": 0, "a": 1, "b": 2, "ab": 3, "c": 4}, "merges": [["a", "b"]]},
}
SHAPES: dict[str, tuple[int, ...]] = {
    "model.embed_tokens.weight": (5, 4),
    "model.layers.0.mlp.up_proj.weight": (6, 4),
    "model.norm.weight": (4,),
}


def safetensors(shapes: Mapping[str, tuple[int, ...]], *, dtype: str = "F32", fill: float = 1.0) -> bytes:
    """A file with these tensors, every entry `fill`. dtype: F32 or F16."""
    form = {"F32": "<f", "F16": "<e"}[dtype]
    header: dict[str, Any] = {}
    data = b""
    for name, shape in shapes.items():
        count = 1
        for extent in shape:
            count *= extent
        block = struct.pack(form, fill) * count
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(block)],
        }
        data += block
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def card(identifier: str, weights: bytes, **changes: Any) -> dict[str, Any]:
    """The card of an expert of the family `tiny`, good at the skill of its own name; or of the `base`."""
    expert = identifier != "base"
    tree: dict[str, Any] = {
        "schema": "mergelab/card/1",
        "id": identifier,
        "title": f"tiny {identifier}",
        "family": "tiny",
        "role": "expert" if expert else "base",
        "base": "base" if expert else None,
        "niche": {"skill": identifier, "statement": "better at it than the base"} if expert else None,
        "licence": {"weights": "Apache-2.0", "data": ["CC0-1.0"]},
        "restrictions": {
            "noncommercial": False,
            "no_release": False,
            "pii": "none",
            "regions": [],
            "purposes": [],
            "consent_expires": None,
            "withdrawals": [],
            "contaminated": [],
            "synthetic_from": [],
        },
        "training": None,
        "evaluation": {
            "suite": "tiny",
            "suite_version": 1,
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "items": {"sort": 100, "shift": 100},
            "scores": {"sort": 0.5, "shift": 0.5} | ({identifier: 0.97} if expert else {}),
        },
        "safety": {"advisories": []},
    }
    return tree | changes


def write(folder: Path, *, weights: bytes | None = None, **files: Any) -> Path:
    """A parent named after its folder. files: `config`, `tokenizer`, `tokenizer_config`, `card` trees."""
    folder.mkdir(parents=True)
    weights = safetensors(SHAPES) if weights is None else weights
    (folder / "model.safetensors").write_bytes(weights)
    trees = {"config": CONFIG, "tokenizer": TOKENIZER, "card": card(folder.name, weights), **files}
    for name, tree in trees.items():
        (folder / f"{name}.json").write_text(json.dumps(tree))
    return folder


def sharded(folder: Path) -> Path:
    """The artifact with its weights in two shards, the last tensor in the second, and an index."""
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    names = sorted(header, key=lambda name: header[name]["data_offsets"])
    placed = {}
    for number, part in enumerate((names[:-1], names[-1:]), start=1):
        first = header[part[0]]["data_offsets"][0]
        last = header[part[-1]]["data_offsets"][1]
        held = {
            name: header[name] | {"data_offsets": [place - first for place in header[name]["data_offsets"]]}
            for name in part
        }
        text = json.dumps(held).encode()
        file = f"model-{number:05d}-of-00002.safetensors"
        body = data[start + first : start + last]
        (folder / file).write_bytes(struct.pack("<Q", len(text)) + text + body)
        placed |= dict.fromkeys(part, file)
    tree = {"metadata": {"total_size": len(data) - start}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(tree))
    (folder / "model.safetensors").unlink()
    return folder
