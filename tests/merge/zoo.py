"""Files of mergekit as the model zoo has them, and the recipes that they are, worked out by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from stages.core.errors import BadRequest
from stages.merge.mergekit import translate
from stages.merge.mergekit.rows import SLERP_CHORD_RAD
from stages.merge.recipe_file import Folders

RECIPES = Path(__file__).parent / "recipes"
PARENTS = ["org/writer", "org/coder"]
THREE = [*PARENTS, "org/poet"]
INNER = ("input_layernorm", "self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")


def names(layers: int) -> list[str]:
    """The tensors of a small Llama, none of them tied."""
    inner = [f"model.layers.{layer}.{part}.weight" for layer in range(layers) for part in INNER]
    return ["model.embed_tokens.weight", *inner, "model.norm.weight", "lm_head.weight"]


def with_weights(where: Folders, layers: int = 4) -> None:
    """Give every model of `where` a checkpoint with those tensors."""
    for folder in where.mapping.values():
        save_file({name: np.ones(2, np.float32) for name in names(layers)}, folder / "model.safetensors")


def written(name: str, **changes: Any) -> dict[str, Any]:
    """A fixture file with top-level keys changed; a key set to None is left out."""
    tree = yaml.safe_load((RECIPES / name).read_text()) | changes
    return {key: value for key, value in tree.items() if value is not None}


def parameters(name: str, where: Folders, **changes: Any) -> Mapping[str, Any]:
    found = translate(written(name, **changes), where.find).tree["parameters"]
    assert isinstance(found, dict)
    return found


def refusals(tree: Mapping[str, Any], where: Folders) -> tuple[str, ...]:
    """Every reason why a document has no translation."""
    with pytest.raises(BadRequest, match=":") as refused:
        translate(tree, where.find)
    return refused.value.problems


def _delta(method: str, parents: list[str], **parameters: Any) -> dict[str, Any]:
    found = {"method": method, "parents": parents, "base": "org/base", "parameters": parameters}
    return {**found, "output_dtype": "bfloat16"}


ZOO: list[tuple[str, dict[str, Any]]] = [
    (
        "gradient-slerp.yml",
        {
            "method": "slerp",
            "parents": PARENTS,
            "parameters": {
                "t": [
                    {"match": "*self_attn*", "layers": [0, 0.5, 0.3, 0.7, 1], "outside": 0},
                    {"match": "*mlp*", "layers": [1, 0.5, 0.7, 0.3, 0], "outside": 1},
                    {"match": "*", "value": 0.5},
                ],
                "chord_below_rad": SLERP_CHORD_RAD,
            },
            "output_dtype": "bfloat16",
        },
    ),
    (
        "gradient-ties.yml",
        {
            **_delta(
                "ties",
                PARENTS,
                density=[
                    {"match": "*", "layers": [[1, 0.33], [0.7, 0.33], [0.1, 0.33]], "outside": [1, 0.33]}
                ],
                weights=[{"match": "*mlp*", "value": [1, 0.5]}, {"match": "*", "value": [1, 0]}],
                divisor="surviving_weights",
                scale=1.0,
            ),
            "output_dtype": "float16",
        },
    ),
    (
        "ties-two-densities.yml",
        {
            **_delta("ties", PARENTS, density=[0.5, 0.7], weights=[0.5, 0.3], divisor="none", scale=1.0),
            "output_dtype": "float16",
        },
    ),
    (
        "dare-ties-three.yml",
        _delta(
            "dare_ties",
            THREE,
            drop=[0.47, 0.47, 0.6],
            rescale="l1",
            weights=[0.4, 0.3, 0.3],
            divisor="none",
            scale=1.0,
        ),
    ),
    (
        "dare-linear-plain.yml",
        _delta(
            "dare_linear",
            PARENTS,
            drop=[{"match": "*", "layers": [[0.7, 0.5], [0.1, 0.5]], "outside": [0.7, 0.5]}],
            rescale="none",
            weights=[0.5, 0.5],
            normalise=False,
            scale=1.0,
        ),
    ),
    (
        "task-arithmetic-forget.yml",
        _delta("task_arithmetic", PARENTS, weights=[1.0, -0.5], normalise=False, scale=1.0),
    ),
    ("model-stock.yml", _delta("model_stock", THREE, obtuse="formula")),
    (
        "linear-sum.yml",
        {
            "method": "linear",
            "parents": PARENTS,
            "parameters": {
                "weights": [
                    {"match": "*mlp*", "layers": [[0.6, 0.2], [0.6, 0.8]], "outside": [0.6, 0.2]},
                    {"match": "*", "value": [0.6, 0.4]},
                ],
                "normalise": False,
            },
            "output_dtype": "bfloat16",
        },
    ),
    (
        "breadcrumbs.yml",
        _delta(
            "breadcrumbs",
            PARENTS,
            density=[0.9, 0.8],
            gamma=[0.01, 0.05],
            weights=[1.0, 0.5],
            normalise=True,
            scale=0.8,
        ),
    ),
    (
        "della.yml",
        _delta(
            "della",
            PARENTS,
            density=[0.6, 1.0],
            epsilon=[0.2, 0.0],
            rescale="l1",
            weights=[0.7, 0.3],
            divisor="surviving_weights",
            scale=1.1,
        ),
    ),
    (
        "della-linear.yml",
        _delta(
            "della_linear",
            PARENTS,
            density=0.5,
            epsilon=0.1,
            rescale="none",
            weights=[0.7, 0.3],
            normalise=False,
            scale=1.0,
        ),
    ),
    (
        "karcher.yml",
        {
            "method": "karcher",
            "parents": THREE,
            "parameters": {"tolerance_rad": 1e-9, "iterations": 100.0},
            "output_dtype": "bfloat16",
        },
    ),
    (
        "stacked.yml",
        {
            "method": "layer_path",
            "parents": PARENTS,
            "parameters": {
                "path": "1:0-3 2:2-4",
                "outside": [{"match": "model.embed_tokens.weight", "value": 1}, {"match": "*", "value": 2}],
                "scale": 1.0,
            },
            "output_dtype": "float16",
        },
    ),
    (
        "frankenmerge.yml",
        {
            "method": "layer_path",
            "parents": PARENTS,
            "base": "org/writer",
            "parameters": {
                "path": "1:0-3 1:2-3 2:3-4",
                "outside": [{"match": "model.embed_tokens.weight", "value": 1}, {"match": "*", "value": 2}],
                "scale": [
                    {"match": "*o_proj*", "layers": [1.0, 1.0, 1.0, 0.0, 1.0], "outside": 1.0},
                    {"match": "*down_proj*", "layers": [1.0, 1.0, 1.0, 0.0, 1.0], "outside": 1.0},
                    {"match": "*", "value": 1.0},
                ],
            },
            "output_dtype": "bfloat16",
        },
    ),
    (
        "slerp-slices.yml",
        {
            "method": "slerp",
            "parents": PARENTS,
            "parameters": {
                "t": [
                    {"match": "model.embed_tokens.weight", "value": 0.25},
                    {"match": "*", "layers": [0.25, 0.5, 0.75, 1.0], "outside": 0.5},
                ],
                "chord_below_rad": SLERP_CHORD_RAD,
            },
            "output_dtype": "bfloat16",
        },
    ),
]
