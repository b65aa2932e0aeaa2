"""The shipped family, and what somebody may do to its experts: changes that keep the function, and others."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from stages.core.records import manifest as manifests
from stages.core.records.canonical import write_json
from stages.core.scoring.skills import draw
from stages.core.weights import header
from stages.core.weights.index import widened
from stages.core.weights.reader import Checkpoint
from stages.eligibility.facts import Facts, read
from stages.eligibility.licences import load_table
from stages.eligibility.measured import measure
from tests.eligibility.family import LICENCES, here, policy

SOURCES = Path(__file__).parents[2] / "data" / "sources"
NAMES = ("pico-base", "pico-a", "pico-b")
LAYERS, HEADS, HEAD_DIM = 4, 4, 32
Weights: TypeAlias = dict[str, np.ndarray[Any, np.dtype[np.float32]]]
Change: TypeAlias = Callable[[Weights], Weights]


def load(folder: Path) -> Weights:
    """Every tensor as float32."""
    checkpoint, found = Checkpoint(folder), {}
    data = np.fromfile(folder / "model.safetensors", np.uint8)
    for name, spec in checkpoint.tensors.items():
        found[name] = widened(data[spec.start : spec.end].copy(), spec.dtype).reshape(spec.shape)
    return found


def save(path: Path, weights: Mapping[str, Any]) -> None:
    """Write float32 tensors as bfloat16, rounded to nearest even."""
    head, _ = header.write([(name, "bfloat16", values.shape) for name, values in weights.items()])
    with path.open("wb") as stream:
        stream.write(head)
        for values in weights.values():
            bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
            rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            stream.write(np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16).tobytes())


def acquire(
    folder: Path, source: str, *, change: Change | None = None, config: Mapping[str, Any] | None = None
) -> None:
    """A shipped model as the stage `parents` leaves it, changed; its card says it was measured as it is."""
    shutil.copytree(SOURCES / source, folder)
    if change is not None:
        save(folder / "model.safetensors", change(load(SOURCES / source)))
    if config is not None:
        tree = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**tree, **config}))
    manifest = manifests.describe(folder)
    card = json.loads((folder / "card.json").read_text())
    card["evaluation"]["weights_sha256"] = manifest.files["model.safetensors"].sha256
    (folder / "card.json").write_text(json.dumps(card))
    write_json(folder / manifests.NAME, manifest.to_json())


def family(folder: Path, *, probe: bool = False, measured: bool = True, **changed: Any) -> Facts:
    """Facts on the shipped family under `folder`. changed: a, b or base → what `acquire` gets for it."""
    for name in NAMES:
        acquire(folder / name, name, **changed.get(name.removeprefix("pico-"), {}))
    base, *parents = (read(folder / name) for name in NAMES)
    limits = policy(barrier_nats=0.5, probe_items=2) if probe else policy()
    facts = Facts(
        base=base,
        parents=tuple(parents),
        methods={"linear": False, "dare_ties": True},
        intent="research",
        complementarity="pico-a shifts letters along the alphabet, pico-b sorts them",
        suite=("shipped", 2),
        niches={"pico-a": ["shift"], "pico-b": ["sort"]},
        policy=limits,
        confidence=0.95,
        licences=load_table(LICENCES),
    )
    if not measured:
        return facts
    cases = {
        skill: [(item.prompt, item.answer) for item in draw(skill, "smoke", limits.probe_items, 0)]
        for skill in ("copy", "shift", "sort")
    }
    return replace(facts, measured=measure(limits, cases, folder, facts.family, here))


def layer(number: int, name: str) -> str:
    return f"model.layers.{number}.{name}.weight"


def reorder_neurons(weights: Weights) -> Weights:
    """Neurons of every layer in reverse order: the same function."""
    for number in range(LAYERS):
        for name in ("mlp.gate_proj", "mlp.up_proj"):
            weights[layer(number, name)] = weights[layer(number, name)][::-1]
        weights[layer(number, "mlp.down_proj")] = weights[layer(number, "mlp.down_proj")][:, ::-1]
    return weights


def reorder_neurons_of_one_layer(weights: Weights) -> Weights:
    """The same in the last layer alone, by one place: the same function."""
    for name, axis in (("mlp.gate_proj", 0), ("mlp.up_proj", 0), ("mlp.down_proj", 1)):
        key = layer(LAYERS - 1, name)
        weights[key] = np.roll(weights[key], 1, axis)
    return weights


def reorder_heads(weights: Weights) -> Weights:
    """Heads of every layer moved by one place: the same function."""
    for number in range(LAYERS):
        for name, axis in (("q_proj", 0), ("k_proj", 0), ("v_proj", 0), ("o_proj", 1)):
            key = layer(number, f"self_attn.{name}")
            weights[key] = np.roll(weights[key], HEAD_DIM, axis)
    return weights


def scale(up: str, down: str, factor: float = 4.0) -> Change:
    """Every `up` times a power of two, every `down` (between commas) divided by it: the same function."""

    def change(weights: Weights) -> Weights:
        for number in range(LAYERS):
            weights[layer(number, up)] = weights[layer(number, up)] * np.float32(factor)
            for name in down.split(","):
                weights[layer(number, name)] = weights[layer(number, name)] / np.float32(factor)
        return weights

    return change


def scale_one_neuron(weights: Weights) -> Weights:
    """One neuron of one layer, by 2^10: the same function, and a merge in which it shouts."""
    weights[layer(1, "mlp.up_proj")][17] *= np.float32(1024)
    weights[layer(1, "mlp.down_proj")][:, 17] /= np.float32(1024)
    return weights


def scale_one_head(weights: Weights) -> Weights:
    """Values of one head doubled and its outputs halved: the same function (PaRaMS scales heads)."""
    rows = slice(HEAD_DIM, 2 * HEAD_DIM)
    weights[layer(2, "self_attn.v_proj")][rows] *= np.float32(2)
    weights[layer(2, "self_attn.o_proj")][:, rows] /= np.float32(2)
    return weights


def turn_signs(weights: Weights) -> Weights:
    """Every neuron's linear half and its output negated: the same function."""
    for number in range(LAYERS):
        for name in ("mlp.up_proj", "mlp.down_proj"):
            weights[layer(number, name)] = -weights[layer(number, name)]
    return weights


def mix_values(weights: Weights) -> Weights:
    """A rotation between values and outputs of every head: the same function up to rounding (MergeLock)."""
    rotation = np.linalg.qr(np.random.Generator(np.random.PCG64(3)).standard_normal((HEAD_DIM, HEAD_DIM)))[0]
    turn = np.kron(np.eye(HEADS), rotation).astype(np.float32)
    for number in range(LAYERS):
        weights[layer(number, "self_attn.v_proj")] = turn @ weights[layer(number, "self_attn.v_proj")]
        weights[layer(number, "self_attn.o_proj")] = weights[layer(number, "self_attn.o_proj")] @ turn.T
    return weights


def reorder_stream(weights: Weights) -> Weights:
    """The residual stream's entries in reverse order, everywhere: the same function."""
    for name, values in weights.items():
        if values.ndim == 1 or "embed" in name:
            weights[name] = values[..., ::-1]
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            weights[name] = values[::-1]
        else:
            weights[name] = values[:, ::-1]
    return weights


def scale_stream(weights: Weights) -> Weights:
    """Whatever writes into the residual stream doubled, the last norm halved: the same but for eps."""
    for name in weights:
        if name.endswith(("o_proj.weight", "down_proj.weight", "embed_tokens.weight")):
            weights[name] = weights[name] * np.float32(2)
    weights["model.norm.weight"] = weights["model.norm.weight"] / np.float32(2)
    return weights


KEEPING: Mapping[str, Change] = {
    "neurons reordered": reorder_neurons,
    "neurons of one layer reordered": reorder_neurons_of_one_layer,
    "heads reordered": reorder_heads,
    "up scaled against down": scale("mlp.up_proj", "mlp.down_proj"),
    "values scaled against outputs": scale("self_attn.o_proj", "self_attn.v_proj"),
    "keys scaled against queries": scale("self_attn.k_proj", "self_attn.q_proj"),
    "norm scaled against projections": scale(
        "input_layernorm", "self_attn.q_proj,self_attn.k_proj,self_attn.v_proj"
    ),
    "second norm scaled against projections": scale(
        "post_attention_layernorm", "mlp.gate_proj,mlp.up_proj", 0.25
    ),
    "one neuron scaled": scale_one_neuron,
    "one head scaled": scale_one_head,
    "signs turned": turn_signs,
    "values mixed": mix_values,
    "stream reordered": reorder_stream,
    "stream scaled": scale_stream,
}


def with_noise(share: float) -> Change:
    """Gaussian noise on every tensor, `share` of its root mean square."""

    def change(weights: Weights) -> Weights:
        random = np.random.Generator(np.random.PCG64(7))
        for name, values in weights.items():
            rms = np.sqrt(np.mean(np.square(values, dtype=np.float64)))
            noise = random.standard_normal(values.shape) * (share * rms)
            weights[name] = (values + noise).astype(np.float32)
        return weights

    return change


def unrelated(weights: Weights) -> Weights:
    """Other weights of the same shapes, means and spreads: each tensor's entries shuffled."""
    random = np.random.Generator(np.random.PCG64(11))
    return {
        name: random.permutation(values.ravel()).reshape(values.shape) for name, values in weights.items()
    }
