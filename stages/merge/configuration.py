"""config.json of a merge: that of its base or first parent, true of the tensors that were written.

The dtype follows the output. Where a path of layers was stacked, their number follows, and so does every list
with one entry per layer; the parents must agree in all else, since a stack has one setting for all layers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from stages.core.errors import Unmergeable
from stages.core.records.canonical import Json, read_json
from stages.core.weights.plan import Plan

NAME: Final = "config.json"
DTYPES: Final = ("dtype", "torch_dtype")  # the new name and the old one
DEPTHS: Final = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
FREE: Final = frozenset(  # say how weights are stored, named, trained or sampled from, not what they compute
    {
        *("_name_or_path", "attention_dropout", "initializer_range", "transformers_version", "use_cache"),
        *("bos_token_id", "eos_token_id", "pad_token_id", *DTYPES),
    }
)
LISTS: Final = frozenset({"architectures", "bos_token_id", "eos_token_id", "pad_token_id"})  # never per layer
WINDOW: Final = "max_window_layers"
# Settings that give a layer its kind by its number; what follows them are the values that give all the same.
NUMBERED: Final[Mapping[str, tuple[Json, ...]]] = {
    **dict.fromkeys(
        (
            *("sliding_window_pattern", "_sliding_window_pattern", "no_rope_layer_interval"),
            *("full_attention_interval", "global_attn_every_n_layers", "interleave_moe_layer_step"),
            *("attn_layer_period", "expert_layer_period", "decoder_sparse_step", "moe_layer_freq"),
        ),
        (None, 0, 1),
    ),
    **dict.fromkeys(("first_k_dense_replace", "attn_layer_offset", "expert_layer_offset"), (None, 0)),
    **dict.fromkeys(("mlp_only_layers", "cross_attention_layers", "hybrid_override_pattern"), (None, [], "")),
}
KINDS: Final = "layer_types"  # where it is stated, it decides in place of NUMBERED and WINDOW


def written(config: bytes, plan: Plan, parents: Sequence[Json]) -> bytes:
    """The bytes of the result's config.json: those given, where nothing has to change.

    config: of the base or the first parent. parents: the configurations of the plan's inputs, None for one
    without config.json; looked at only if the plan is a path of layers.
    Raises Unmergeable listing every setting that one stack of these layers cannot have.
    """
    tree = json.loads(config)
    found = tree | {key: plan.recipe.output_dtype for key in DTYPES if key in tree}
    if plan.slots:
        found |= _followed(tree, plan.slots, parents)
    return config if found == tree else (json.dumps(found, indent=2) + "\n").encode()


def stated(folder: Path) -> Json:
    """config.json of a folder; None if it has none."""
    return read_json(folder / NAME) if (folder / NAME).is_file() else None


def _followed(origin: Json, slots: Sequence[tuple[int, int]], parents: Sequence[Json]) -> dict[str, Json]:
    """What changes in `origin`: the number of layers, the lists by layer, and the window's bound."""
    used = {place: parents[place] for place in sorted({place for place, _ in slots})}
    models = {f"parent {place + 1}": tree for place, tree in used.items() if tree is not None}
    lists = sorted({key for tree in (origin, *models.values()) for key in _by_layer(tree)})
    problems = list(_disagreements(origin, models, lists))
    depth = next((key for key in DEPTHS if key in origin), None)
    if depth is None:
        problems.append(f"none of {', '.join(DEPTHS)} is in it, so the number of layers cannot follow")
    for key in lists:
        for place, layer in dict.fromkeys(slots):
            entries = (used[place] or {}).get(key)
            if not isinstance(entries, list) or layer >= len(entries):
                problems.append(f"{key}: has no entry for layer {layer} of parent {place + 1}")
    problems += _misnumbered(origin, slots, lists)
    if problems or depth is None:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise Unmergeable(
            f"config.json cannot describe this stack of layers:{listed}\nChoose parents that agree in these."
        )
    found: dict[str, Json] = {depth: len(slots)}
    for key in lists:
        found[key] = [used[place][key][layer] for place, layer in slots]
    if isinstance(origin.get(WINDOW), int) and origin[WINDOW] > len(slots):
        found[WINDOW] = len(slots)
    return found


def _by_layer(tree: Json) -> Iterator[str]:
    """The keys of a configuration that hold a list with one entry for each of its layers."""
    layers = next((tree[key] for key in DEPTHS if key in tree), None)
    for key, value in tree.items():
        if isinstance(value, list) and len(value) == layers and key not in LISTS:
            yield key


def _disagreements(origin: Json, models: Mapping[str, Json], lists: Sequence[str]) -> Iterator[str]:
    """A sentence for every setting in which a parent of the stack differs from `origin`; null is absent."""
    apart = FREE | {*DEPTHS, *lists, WINDOW}
    for name, tree in models.items():
        for key in sorted((origin.keys() | tree.keys()) - apart):
            if origin.get(key) != tree.get(key):
                yield f"{key}: {tree.get(key)!r} in {name}, {origin.get(key)!r} where it is taken from"


def _misnumbered(origin: Json, slots: Sequence[tuple[int, int]], lists: Sequence[str]) -> Iterator[str]:
    """A sentence for every setting that would make another kind of layer of one that has moved."""
    if KINDS in lists or all(layer == number for number, (_, layer) in enumerate(slots)):
        return
    for key, same in NUMBERED.items():
        if key in origin and origin[key] not in same:
            yield f"{key}: {origin[key]!r} gives layers their kind by their number, and the path moves them"
    if origin.get("use_sliding_window") and WINDOW in origin:
        yield f"{WINDOW}: {origin[WINDOW]!r} gives layers their kind by their number, and the path moves them"
