"""config.json of a stack of layers: what follows the path, and what no stack can have."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import Unmergeable
from stages.core.weights.plan import Plan
from stages.merge.configuration import written
from tests.core.weights.family import LABELS, Family, planned, recipe

FIRST = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "rms_norm_eps": 1e-5,
    "dtype": "float32",
}


@pytest.fixture
def made(tmp_path: Path) -> Family:
    """Two parents of three and four layers of one shape."""
    found = Family(tmp_path, {}, {})
    for label, layers in zip(LABELS[1:3], (3, 4), strict=True):
        found.add(label, {f"layers.{layer}.w": torch.ones(2) for layer in range(layers)})
    return found


def path(made: Family, text: str) -> Plan:
    return planned(made, recipe("layer_path", path=text))


def follow(plan: Plan, first: dict[str, Any], second: dict[str, Any] | None = None) -> Any:
    """The configuration that the result gets; `second`: that of the parent of four layers."""
    other = first | {"num_hidden_layers": 4} if second is None else second
    return json.loads(written(json.dumps(first).encode(), plan, [first, other]))


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "num_layers", "n_layers"])
def test_the_number_of_layers_follows_under_the_key_that_is_there(made: Family, key: str) -> None:
    first = {key: 3, "vocab_size": 3}
    found = follow(path(made, "1:0-2 2:1-4"), first, first | {key: 4})
    assert found == {key: 5, "vocab_size": 3}


def test_a_list_by_layer_takes_each_entry_from_the_layer_that_was_taken(made: Family) -> None:
    first = FIRST | {"layer_types": ["a", "b", "c"], "architectures": ["X"], "eos_token_id": [1, 2, 3]}
    second = first | {"num_hidden_layers": 4, "layer_types": ["p", "q", "r", "s"], "eos_token_id": [7]}
    found = follow(path(made, "2:3 1:0-2 2:0 1:1"), first, second)
    assert found["layer_types"] == ["s", "a", "b", "p", "b"]
    assert found["eos_token_id"] == [1, 2, 3]
    assert found["num_hidden_layers"] == 5


def test_the_window_is_lowered_to_the_number_of_layers_and_never_raised(made: Family) -> None:
    first = FIRST | {"max_window_layers": 3, "use_sliding_window": False}
    assert follow(path(made, "1:0-2"), first)["max_window_layers"] == 2
    assert follow(path(made, "1:0-3 1:0-3"), first)["max_window_layers"] == 3


def test_the_bytes_stay_where_nothing_has_to_change(made: Family) -> None:
    config = b'{"num_hidden_layers":  3, "torch_dtype": "bfloat16"}'
    plan = path(made, "1:0-3")
    assert written(config, plan, [json.loads(config), None]) == config
    single = planned(made, recipe("layer_path", path="1:0-3", dtype="float32"))
    assert json.loads(written(config, single, [json.loads(config), None]))["torch_dtype"] == "float32"


def test_every_setting_in_which_the_parents_differ_is_listed(made: Family) -> None:
    second = {
        "model_type": "llama",
        "num_hidden_layers": 4,
        "hidden_size": 9,
        "rope_theta": 5.0,
        "dtype": "float16",
    }
    with pytest.raises(Unmergeable) as told:
        follow(path(made, "1:0 2:0"), FIRST, second)
    assert str(told.value).splitlines() == [
        "config.json cannot describe this stack of layers:",
        "  hidden_size: 9 in parent 2, 8 where it is taken from",
        "  rms_norm_eps: None in parent 2, 1e-05 where it is taken from",
        "  rope_theta: 5.0 in parent 2, None where it is taken from",
        "Choose parents that agree in these.",
    ]
    assert follow(path(made, "1:0 1:0"), FIRST, second)["num_hidden_layers"] == 2, "parent 2 gives no layer"


def test_a_list_that_a_parent_of_the_path_lacks_is_refused(made: Family) -> None:
    first = FIRST | {"layer_types": ["a", "b", "c"]}
    with pytest.raises(Unmergeable, match="layer_types: has no entry for layer 3 of parent 2"):
        follow(path(made, "1:0 2:3"), first)


def test_a_configuration_without_a_number_of_layers_is_refused(made: Family) -> None:
    with pytest.raises(
        Unmergeable, match="none of num_hidden_layers, n_layer, num_layers, n_layers is in it"
    ):
        follow(path(made, "1:0"), {"text_config": {"num_hidden_layers": 3}})


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [("sliding_window_pattern", 2, 1), ("first_k_dense_replace", 1, 0), ("mlp_only_layers", [1], [])],
)
def test_a_setting_that_counts_layers_is_refused_where_layers_move(
    made: Family, key: str, value: Any, same: Any
) -> None:
    with pytest.raises(Unmergeable, match=f"{key}: .* gives layers their kind by their number"):
        follow(path(made, "1:1 1:0"), FIRST | {key: value})
    assert follow(path(made, "1:1 1:0"), FIRST | {key: same})[key] == same
    assert follow(path(made, "1:0-2"), FIRST | {key: value})[key] == value


def test_a_sliding_window_that_begins_at_a_layer_is_refused_where_layers_move(made: Family) -> None:
    first = FIRST | {"max_window_layers": 2, "use_sliding_window": True}
    with pytest.raises(Unmergeable, match="max_window_layers: 2 gives layers their kind"):
        follow(path(made, "1:2 1:0"), first)
    kinds = {"layer_types": ["full", "full", "sliding"]}
    assert follow(path(made, "1:2 1:0"), first | kinds)["layer_types"] == ["sliding", "full"]
