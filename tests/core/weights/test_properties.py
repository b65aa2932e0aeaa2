"""What holds for each method, and folklore that does not, each false sentence with a counterexample.

Everything goes through the engine. Fisher and RegMean are not built, so their lines are missing here. The
executor's line is tests/core/sandbox/test_same_bytes.py: a locked worker writes the bytes of this process.
"""

import dataclasses
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.core.records.recipe import Recipe
from stages.core.weights import engine, registry
from stages.core.weights.methods import greedy_soup
from stages.core.weights.numerics import LEAF
from tests.core.weights.family import LABELS, Family, planned, recipe, values
from tests.core.weights.merging import checkpoints, merged, numbers, save_sharded, written
from tests.reference import rounding, table

few = settings(max_examples=5, deadline=None, derandomize=True)
more = settings(max_examples=12, deadline=None, derandomize=True)
DELTA = [method.name for method in registry.METHODS if method.space == "delta"]
MANY = [method.name for method in registry.METHODS if method.parents[1] > 2]
SHAPES: Mapping[str, tuple[int, ...]] = {"h.0.matrix": (31, 33), "norm": (99,), "scalar": (), "empty": (0, 3)}


def fine_tune(place: int, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> dict[str, Tensor]:
    """float32 tensors of the base (place 0) or of a fine-tune that moved by a tenth."""
    found = {}
    for seed, (name, shape) in enumerate(shapes.items(), start=1):
        found[name] = values(seed, shape, 1.0, torch.float32)
        if place:
            found[name] = found[name] + values(1000 * place + seed, shape, 0.1, torch.float32)
    return found


def same_parents(wanted: Recipe, order: Sequence[int]) -> Recipe:
    """The recipe with its parents, and every number that is theirs or names them, in another order."""
    kinds = {parameter.name: parameter.kind for parameter in registry.get(wanted.method).parameters}

    def turned(name: str, value: Any) -> Any:
        if kinds[name] == "parent":
            return float(order.index(int(value) - 1) + 1)
        if kinds[name] == "text":  # a path: PARENT:LAYERS
            return re.sub(r"\d+(?=:)", lambda found: str(order.index(int(found[0]) - 1) + 1), value)
        return tuple(value[place] for place in order) if isinstance(value, tuple) else value

    parameters = {name: turned(name, value) for name, value in wanted.parameters.items()}
    parents = tuple(wanted.parents[place] for place in order)
    return dataclasses.replace(wanted, parents=parents, parameters=parameters)


# The order of the parents


@more
@given(order=st.permutations(range(4)), units=st.lists(st.integers(-3, 3), min_size=24, max_size=24))
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("linear", {}),
        ("task_arithmetic", {"scale": 0.5}),
        ("ties", {"density": 0.5}),
        ("ties", {"density": 1.0, "election": "count", "divisor": "count"}),
    ],
)
def test_where_sums_are_exact_the_order_of_parents_changes_no_bit(
    method: str, options: dict[str, Any], order: list[int], units: list[int]
) -> None:
    """Whole numbers and weights of few bits that sum to 2: nothing is rounded, and votes of zero abound."""
    parents = [{"w": torch.tensor(units[place::4], dtype=torch.float32)} for place in range(4)]
    wanted = recipe(method, parents=4, dtype="float32", weights=[0.5, 0.25, 1.0, 0.25], **options)
    with tempfile.TemporaryDirectory() as root:
        made = checkpoints(Path(root), {"w": torch.zeros(6)}, *parents)
        assert torch.equal(merged(made, same_parents(wanted, order))["w"], merged(made, wanted)["w"])


@pytest.mark.parametrize("method", MANY)
@pytest.mark.parametrize("order", [(2, 0, 1), (0, 2, 1)])
def test_the_order_of_parents_changes_rounding_alone(
    tmp_path: Path, method: str, order: tuple[int, ...]
) -> None:
    """Each order lies within k + 2 ulp of one exact value (test_every_option.py): two lie within 2 k + 4.

    Random methods are no exception, because a mask belongs to a parent and not to its place.
    """
    setting = next(iter(table.ENTRIES[method].settings(3)), {})
    wanted = recipe(method, parents=3, dtype="float32", **setting)
    states = [fine_tune(place) for place in range(4)]
    made = checkpoints(tmp_path, *states)
    straight, turned = merged(made, wanted), merged(made, same_parents(wanted, order))
    arrays = [{name: tensor.double().numpy() for name, tensor in state.items()} for state in states]
    for name in ("h.0.matrix", "norm", "scalar"):
        base = arrays[0] if method in DELTA else None
        problem = table.Problem(name, base, arrays[1:], LABELS[1:4], wanted.parameters, wanted.seed)
        largest = np.max(np.abs([*table.ENTRIES[method].terms(problem), straight[name].numpy()]), axis=0)
        apart = np.abs(straight[name].double().numpy() - turned[name].double().numpy())
        assert (apart <= 10 * rounding.ulp(largest, "float32")).all()


# One parent alone

ALONE: Mapping[str, dict[str, Any]] = {
    "linear": {"weights": [1.0, 0.0]},
    "slerp": {"t": 0.0},
    "karcher": {"weights": [1.0, 0.0]},
    "greedy_soup": {"kept": [1, 0], "scores": [0.9, 0.1]},
    "task_arithmetic": {"weights": [1.0, 0.0], "scale": 1.0},
    "ties": {"weights": [1.0, 0.0], "density": 1.0},
    "dare_linear": {"weights": [1.0, 0.0], "drop": 0.0, "scale": 1.0},
    "dare_ties": {"weights": [1.0, 0.0], "drop": 0.0},
    "task_slerp": {"t": 0.0, "opposite": "chord"},
    "breadcrumbs": {"weights": [1.0, 0.0], "density": 1.0, "gamma": 0.0, "scale": 1.0},
    "della": {"weights": [1.0, 0.0], "density": 1.0, "epsilon": 0.0},
    "della_linear": {"weights": [1.0, 0.0], "density": 1.0, "epsilon": 0.0, "scale": 1.0},
    "consensus": {"weights": [1.0, 0.0], "active_in": 1.0, "scale": 1.0},
    "passthrough": {},
    "layer_path": {},
    "tsv_m": {"weights": [1.0, 0.0]},
    "iso_c": {"weights": [1.0, 0.0], "spectral": 0.0},
    "iso_cts": {"weights": [1.0, 0.0], "spectral": 0.0},
}


def test_only_methods_without_weights_leave_every_parent_a_say() -> None:
    """iso_c and iso_cts flatten the spectrum of one parent too: matrices come back by the mean alone."""
    assert set(registry.BY_NAME) - set(ALONE) == {"model_stock", "sce"}


@pytest.mark.parametrize("method", ALONE)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_parent_beside_one_without_a_say_comes_back(tmp_path: Path, method: str, dtype: str) -> None:
    """Methods take two parents or more: the second has weight 0 (arcs stop at the first, a soup drops it).

    Bit for bit in bfloat16 and float16. In float32 base + (parent - base) may round: 1 ulp of the greater.
    """
    kind = getattr(torch, dtype)
    states = [{name: tensor.to(kind) for name, tensor in fine_tune(place).items()} for place in range(3)]
    found = merged(checkpoints(tmp_path, *states), recipe(method, dtype=dtype, **ALONE[method]))
    for name, tensor in states[1].items():
        if dtype != "float32" or method not in DELTA:
            assert torch.equal(found[name], tensor)
        greater = torch.maximum(tensor.abs(), states[0][name].abs()).double().numpy()
        off = (found[name].double() - tensor.double()).abs().numpy()
        assert (off <= rounding.ulp(greater, dtype)).all()


# Equal parents


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("linear", {"weights": [0.3, 1.1, 0.8]}),
        ("slerp", {"t": 0.3}),
        ("karcher", {"weights": [0.3, 1.1, 0.8]}),
        ("greedy_soup", {}),
        ("passthrough", {"donor": 2}),
        ("layer_path", {"path": "2:*", "outside": 3}),
        ("task_arithmetic", {"weights": [0.3, 1.1, 0.8], "normalise": True, "scale": 1.0}),
        ("task_slerp", {"t": 0.3}),
        ("model_stock", {}),
        ("ties", {"weights": [0.3, 1.1, 0.8], "density": 1.0}),
    ],
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_equal_parents_are_a_fixed_point_of_convex_methods(
    tmp_path: Path, method: str, options: dict[str, Any], dtype: str
) -> None:
    """Bit for bit: what float32 rounds on the way is far less than half an ulp of the shorter types."""
    count = min(3, registry.get(method).parents[1])
    kind = getattr(torch, dtype)
    base, parent = ({name: t.to(kind) for name, t in fine_tune(place).items()} for place in (0, 1))
    made = checkpoints(tmp_path, base, *[parent] * count)
    found = merged(made, recipe(method, parents=count, dtype=dtype, **options))
    assert all(torch.equal(found[name], tensor) for name, tensor in parent.items())


# Methods that become others


@pytest.mark.parametrize(
    ("dropping", "other"),
    [
        (("dare_linear", {"drop": 0.0, "rescale": "paper"}), ("task_arithmetic", {})),
        (("dare_linear", {"drop": 0.0, "rescale": "l1"}), ("task_arithmetic", {})),
        (("dare_ties", {"drop": 0.0}), ("ties", {"density": 1.0})),
        (("della", {"density": 1.0, "epsilon": 0.0}), ("ties", {"density": 1.0})),
        (("della_linear", {"density": 1.0, "epsilon": 0.0}), ("task_arithmetic", {})),
        (("breadcrumbs", {"density": 1.0, "gamma": 0.0}), ("task_arithmetic", {})),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_drops_nothing_writes_the_file_of_the_method_without_dropping(
    tmp_path: Path, dropping: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], dtype: str
) -> None:
    made = checkpoints(tmp_path / "family", *[fine_tune(place) for place in range(3)])
    files = [
        written(made, recipe(m, dtype=dtype, weights=[0.3, 0.9], scale=0.7, **options), tmp_path / m).files
        for m, options in (dropping, other)
    ]
    assert files[0] == files[1]


# Scale


@few
@given(power=st.integers(-30, 30))
@pytest.mark.parametrize("method", DELTA)
def test_deltas_scaled_by_a_power_of_two_scale_the_merged_delta_exactly(method: str, power: int) -> None:
    """Exact for every delta method over a base of zeros, where no delta and no last sum is rounded."""
    options = {"opposite": "chord"} if method == "task_slerp" else {}
    zeros = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    parents = [{name: t * 0.1 for name, t in fine_tune(place, SHAPES).items()} for place in (1, 2)]
    grown = [{name: tensor * 2.0**power for name, tensor in parent.items()} for parent in parents]
    wanted = recipe(method, dtype="float32", **options)
    with tempfile.TemporaryDirectory() as root:
        plain = merged(checkpoints(Path(root) / "plain", zeros, *parents), wanted)
        found = merged(checkpoints(Path(root) / "grown", zeros, *grown), wanted)
    assert all(torch.equal(found[name], plain[name] * 2.0**power) for name in SHAPES)


@pytest.mark.parametrize("method", DELTA)
@pytest.mark.parametrize("power", [-2, 2])
def test_over_any_base_the_merged_delta_scales_up_to_its_last_rounding(
    tmp_path: Path, method: str, power: int
) -> None:
    """Base and deltas are multiples of 1/16 under 4: scaled deltas are exact, and only the last sum rounds.

    That sum is under 64, so it is off by half an ulp of 2^-18 at most; the unscaled one counts 2^power times.
    """
    options = {"opposite": "chord"} if method == "task_slerp" else {}
    base = (values(1, (999,), 64.0, torch.float32)).round() / 16
    deltas = [(values(seed, (999,), 64.0, torch.float32)).round() / 16 for seed in (2, 3)]
    wanted = recipe(method, dtype="float32", **options)
    moved = []
    for factor in (1.0, 2.0**power):
        states = [{"w": base}, *[{"w": base + delta * factor} for delta in deltas]]
        found = merged(checkpoints(tmp_path / str(factor), *states), wanted)["w"]
        moved.append(found.double() - base.double())
    assert (moved[1] - moved[0] * 2.0**power).abs().max() <= 2**-19 * (1 + 2.0**power)


# Layout, threads, blocks, the way out

LONGER: Mapping[str, tuple[int, ...]] = {
    "h.0.a": (257, 259),
    "b": (99,),
    "c": (),
    "d": (LEAF + 1,),
    "e": (0,),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A base and two fine-tunes, one file each, two tensors of them longer than a leaf."""
    return checkpoints(tmp_path_factory.mktemp("plain"), *[fine_tune(place, LONGER) for place in range(3)])


@settings(few, max_examples=3)
@given(data=st.data())
@pytest.mark.parametrize("method", registry.BY_NAME)
def test_the_digest_does_not_depend_on_order_shards_threads_or_blocks(
    plain: Family, method: str, data: st.DataObject
) -> None:
    """Each input is dealt anew over its own number of files, in its own order."""
    wanted = recipe(method, **({"opposite": "chord"} if method == "task_slerp" else {}))
    threads, leaves = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 3))
    with tempfile.TemporaryDirectory() as name:
        root, dealt = Path(name), Family(Path(name), {}, {})
        for place, label in enumerate(LABELS[:3]):
            order, shards = data.draw(st.permutations(list(LONGER))), data.draw(st.integers(1, 4))
            save_sharded(fine_tune(place, LONGER), root / label, order, shards)
            dealt.adopt(label, root / label)
        straight = written(plain, wanted, root / "one", threads=1, block_elements=4 * LEAF)
        turned = written(dealt, wanted, root / "two", threads=threads, block_elements=leaves * LEAF)
        assert turned == straight


@pytest.mark.parametrize("method", registry.BY_NAME)
def test_a_live_model_a_stream_and_a_file_hold_the_same_values(tmp_path: Path, method: str) -> None:
    states = [fine_tune(place) for place in range(3)]
    made = checkpoints(tmp_path / "family", *states)
    wanted = recipe(method, dtype="float32", **({"opposite": "chord"} if method == "task_slerp" else {}))
    live = {name: torch.full_like(tensor, 7.0) for name, tensor in states[0].items()}
    notes = engine.merge_into(planned(made, wanted), made.sources, live, made.manifests)
    file = written(made, wanted, tmp_path / "out")
    again = Family(tmp_path, {}, {})
    again.adopt(LABELS[1], tmp_path / "out")
    again.adopt(LABELS[2], tmp_path / "out")
    kept = merged(again, recipe("greedy_soup", dtype="float32", kept=[1, 0], scores=[1.0, 0.0]))
    assert notes == file.notes
    for name, tensor in merged(made, wanted).items():
        assert torch.equal(live[name], tensor)
        assert torch.equal(kept[name], tensor)


# Folklore


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("ties", {"density": 0.5}, [0, 0, 3, 4]),
        ("breadcrumbs", {"density": 0.5, "gamma": 0.25, "weights": 0.5, "scale": 1.0}, [0, 2, 3, 0]),
        ("sce", {"density": 0.5}, [1, 2, 0, 0]),
        ("task_arithmetic", {"weights": 0.5, "scale": 1.0, "lines": [0.5, 0.5, 0.5]}, [0.5, 1, 1.5, 2]),
        ("task_arithmetic", {"scale": 1.0}, [2, 4, 6, 8]),
    ],
)
def test_false_that_merging_identical_models_changes_nothing(
    tmp_path: Path, method: str, options: dict[str, Any], expected: list[float]
) -> None:
    """Two parents 1, 2, 3, 4 over a base of zeros."""
    parent = {"w": numbers(1, 2, 3, 4)}
    made = checkpoints(tmp_path, {"w": torch.zeros(4)}, parent, parent)
    assert merged(made, recipe(method, dtype="float32", **options))["w"].tolist() == expected


@pytest.mark.parametrize("method", [method.name for method in registry.METHODS if method.random])
def test_false_that_identical_models_survive_a_random_method(tmp_path: Path, method: str) -> None:
    """Even where weights are halved so that a method which dropped nothing would give the parent back."""
    options = {"weights": 0.5, "scale": 1.0} if "linear" in method else {}
    parent = {"w": torch.ones(100)}
    made = checkpoints(tmp_path, {"w": torch.zeros(100)}, parent, parent)
    assert (merged(made, recipe(method, dtype="float32", **options))["w"] != 1).sum() > 20


def test_false_that_sequential_merges_are_associative(tmp_path: Path) -> None:
    """Means of 0, 4 and 16, two at a time: (0 4) 16 gives 9, 0 (4 16) gives 5, all at once 20/3."""
    made = checkpoints(tmp_path, *[{"w": numbers(value)} for value in (0, 4, 16)], first=1)
    pair = recipe("linear", dtype="float32")

    def mean_of(*labels: str, into: str) -> float:
        wanted = dataclasses.replace(pair, parents=labels)
        written(made, wanted, tmp_path / into)
        made.adopt(into, tmp_path / into)
        return merged(made, wanted)["w"].item()

    first, second, third = LABELS[1:4]
    assert mean_of(first, second, into="left") == 2
    assert mean_of("left", third, into="left-right") == 9
    assert mean_of(second, third, into="right") == 10
    assert mean_of(first, "right", into="right-left") == 5
    at_once = merged(made, recipe("linear", parents=3, dtype="float32"))["w"].item()
    assert at_once == pytest.approx(20 / 3, rel=2**-22)


def test_false_that_the_uniform_soup_beats_the_best_single_model(tmp_path: Path) -> None:
    """Score -(w - 1)^2 of models at 1, 1.25 and 7: the uniform soup, at 37/12, is worse than the best alone.

    The greedy soup keeps the best one alone: on the split it selects on it is never below it.
    """
    weights = (1.0, 1.25, 7.0)
    made = checkpoints(tmp_path, *[{"w": numbers(value)} for value in weights], first=1)

    def soup(kept: Sequence[float], scores: Sequence[float]) -> float:
        wanted = recipe("greedy_soup", parents=3, dtype="float32", kept=list(kept), scores=list(scores))
        return -((merged(made, wanted)["w"].item() - 1) ** 2)

    singles = [-((value - 1) ** 2) for value in weights]
    steps = greedy_soup.select(singles, lambda chosen: soup([float(p in chosen) for p in range(3)], singles))
    assert soup([1, 1, 1], singles) < min(singles[:2]) < max(singles)
    assert greedy_soup.kept(steps) == (1.0, 0.0, 0.0)
    assert soup(greedy_soup.kept(steps), singles) == max(singles)
