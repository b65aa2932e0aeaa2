"""Every number that a translated file gives a tensor, against mergekit's own formula for it."""

import json
from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
import yaml

from stages.core.weights import depth, registry
from stages.core.weights.depth import Place, between
from stages.merge.mergekit import translate
from stages.merge.mergekit.settings import Case
from stages.merge.recipe_file import Folders
from tests.merge.zoo import RECIPES, names, with_weights
from tests.reference import mergekit

GRADED = [  # file, our parameter, mergekit's
    ("gradient-slerp.yml", "t", "t"),
    ("gradient-ties.yml", "density", "density"),
    ("gradient-ties.yml", "weights", "weight"),
    ("linear-sum.yml", "weights", "weight"),
]
DEEP = [("slerp-slices.yml", "t", "t")]  # its second slice begins at layer 1


def of(name: str, where: Folders, layers: int) -> tuple[Any, Mapping[str, Mapping[str, Any]]]:
    """A file for models of that many layers, and what its translation gives each of their tensors."""
    tree = yaml.safe_load((RECIPES / name).read_text())
    for part in tree.get("slices", []):
        for source in part["sources"]:
            source["layer_range"] = [layers if end == 4 else end for end in source["layer_range"]]
    for folder in where.mapping.values():
        config = {"num_hidden_layers": layers, "vocab_size": 3}
        (folder / "config.json").write_text(json.dumps(config))
    with_weights(where, layers)
    found = translate(tree, where.find).tree
    options = registry.resolve(found["method"], found["parameters"], len(found["parents"]))
    resolved = depth.resolved(options, names(layers))
    return tree, {tensor: values for tensor, (values, _) in resolved.items()}


@pytest.mark.parametrize(
    ("case", "layers"),
    [*product(GRADED, (1, 2, 4, 5, 32)), *product(DEEP, (2, 3, 4, 32))],
)
def test_each_tensor_gets_the_number_that_mergekit_gives_it(
    case: tuple[str, str, str], layers: int, where: Folders
) -> None:
    name, ours, theirs = case
    tree, found = of(name, where, layers)
    for tensor, values in found.items():
        models = [None] if theirs == "t" else ["org/writer", "org/coder"]
        want = [mergekit.value(tree, theirs, model, tensor, layers) for model in models]
        got = values[ours] if isinstance(values[ours], tuple) else [values[ours]]
        assert list(got) == pytest.approx(want, abs=1e-12), tensor


@pytest.mark.parametrize("layers", [1, 4, 7])
def test_nuslerp_goes_to_the_second_weight_s_part_of_the_sum_in_every_layer(
    layers: int, where: Folders
) -> None:
    tree, found = of("nuslerp.yml", where, layers)
    for tensor, values in found.items():
        first, second = (
            mergekit.value(tree, "weight", model, tensor, layers) for model in ("org/writer", "org/coder")
        )
        assert values["t"] == pytest.approx(second / (first + second), abs=1e-12), tensor


@pytest.mark.parametrize("layers", [2, 3, 5, 11, 40])
@pytest.mark.parametrize("points", [(0.0, 0.5, 0.3, 0.7, 1.0), (1.0, 0.1), (0.2, 0.9, 0.4)])
def test_lists_over_layers_here_are_mergekit_s_gradients(points: tuple[float, ...], layers: int) -> None:
    for layer in range(layers):
        theirs = mergekit.evaluate(list(points), "", layer / (layers - 1))
        assert between(tuple((p,) for p in points), Place(layer, layers))[0] == pytest.approx(
            theirs, abs=1e-12
        )
        assert Case(None, points).at(layer / (layers - 1)) == theirs


def test_a_gradient_by_hand() -> None:
    """Layers 0 to 3 of four: t is 0, 1/3, 2/3, 1, so [0, 0.5, 0.3] is read at 0, 2/3, 4/3 and 2."""
    found = [Case(None, (0.0, 0.5, 0.3)).at(layer / 3) for layer in range(4)]
    assert found == pytest.approx([0, 1 / 3, 0.5 - 0.2 / 3, 0.3])
