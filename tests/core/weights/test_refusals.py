"""What no method may merge, in any role; and what every method must take: equal integers, mixed types."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.core.errors import Unmergeable
from stages.core.weights import engine, registry
from stages.core.weights.method import Method
from tests.core.weights.family import LABELS, Family, planned, recipe, values
from tests.core.weights.merging import checkpoints, merged, numbers, written

every_method = pytest.mark.parametrize("method", registry.METHODS, ids=lambda method: method.name)
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def count_of(method: Method) -> int:
    """Three parents, or as many as the method takes."""
    return min(3, method.parents[1])


def reading(method: Method, place: int) -> dict[str, Any]:
    """Options under which parent `place` (from 1) is read: a routed method reads the parent that it names."""
    return {
        "every_parent": {},
        "one_parent": {"donor": place},
        "layer_path": {"path": f"{place}:*", "outside": place},
    }[method.route]


def giver(method: Method) -> str | None:
    """The parameter of a routed method that names the parent of tensors in no layer; None for others."""
    return {"every_parent": None, "one_parent": "donor", "layer_path": "outside"}[method.route]


def roles(method: Method) -> list[str]:
    """What the engine calls the inputs, in the order of LABELS; the base is no input in weight space."""
    return ["base", *[f"parent {place}" for place in range(1, count_of(method) + 1)]]


def member(place: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Three small tensors of the base or of a fine-tune, one of them in a layer."""
    return {
        name: (
            values(seed, (7, 9), 1.0, torch.float32) + values(10 * place + seed, (7, 9), 0.1, torch.float32)
        ).to(dtype)
        for seed, name in enumerate(("a", "h.0.m", "w"), start=1)
    }


def three(root: Path, change: Any = lambda place, state: state) -> Family:
    """A base and three parents, each after `change(place, state)`."""
    return checkpoints(root, *[change(place, member(place)) for place in range(4)])


@every_method
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_in_every_role(
    tmp_path: Path, method: Method, bad: float
) -> None:
    """The types take turns over the roles; the last element of the last tensor is the bad one."""
    read = roles(method)[0 if method.space == "delta" else 1 :]
    for turn, role in enumerate(read):
        spoilt = roles(method).index(role)
        made = Family(tmp_path / str(turn), {}, {})
        for place, label in enumerate(LABELS[:4]):
            tensors = member(place, FLOATS[turn % 3])
            if place == spoilt:
                tensors["w"][-1, -1] = bad
            made.add(label, tensors)
        wanted = recipe(method.name, parents=count_of(method), **reading(method, spoilt))
        with pytest.raises(Unmergeable, match=rf"tensor 'w': {role} holds a NaN or an infinity"):
            merged(made, wanted)


@pytest.mark.parametrize(
    "method", [m for m in registry.METHODS if any(p.name == "weights" for p in m.parameters)]
)
def test_a_parent_without_weight_may_hold_no_nan_either(tmp_path: Path, method: Method) -> None:
    made = checkpoints(tmp_path, member(0), member(1), {**member(2), "w": torch.full((7, 9), torch.nan)})
    with pytest.raises(Unmergeable, match=r"tensor 'w': parent 2 holds a NaN or an infinity"):
        merged(made, recipe(method.name, weights=[1.0, 0.0]))


@every_method
def test_missing_and_extra_tensors_are_refused_with_the_full_list(tmp_path: Path, method: Method) -> None:
    """Parent 1 lacks `a`, parent 2 has `x` and `y` besides."""

    def change(place: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        if place == 1:
            del state["a"]
        return {**state, "y": torch.ones(1), "x": torch.ones(1)} if place == 2 else state

    with pytest.raises(Unmergeable) as caught:
        planned(three(tmp_path, change), recipe(method.name))
    listed = str(caught.value).splitlines()
    if method.space == "delta":
        expected = ["a: in base, missing in parent 1", *[f"{n}: in parent 2, missing in base" for n in "xy"]]
    elif giver(method):
        expected = [f"{n}: {giver(method)} takes it from parent 1; it is in parent 2" for n in "ayx"]
    else:
        expected = [f"{n}: in parent 2, missing in parent 1" for n in "axy"]
    assert listed[0] == "3 tensors do not fit together:"
    assert [line.strip() for line in listed[1:-1]] == expected


@every_method
@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.uint8, torch.bool])
def test_integers_are_copied_where_equal_and_refused_where_not(
    tmp_path: Path, method: Method, kind: torch.dtype
) -> None:
    """The base's do not matter: parents that agree have moved together. A routed method reads one parent."""
    counts = torch.tensor([0, 1, 1, 0, 1]).to(kind)
    wanted = recipe(method.name, parents=count_of(method))
    equal = three(tmp_path / "e", lambda place, s: {**s, "ids": counts if place else counts.roll(1)})
    assert torch.equal(merged(equal, wanted)["ids"], counts)
    last = count_of(method)
    unlike = three(tmp_path / "u", lambda place, s: {**s, "ids": counts.roll(int(place == last))})
    if giver(method):
        wanted = recipe(method.name, parents=last, **reading(method, last))
        assert torch.equal(merged(unlike, wanted)["ids"], counts.roll(1))
        return
    name = str(kind).removeprefix("torch.")
    with pytest.raises(Unmergeable, match=rf"tensor 'ids': its {name} values differ between the parents"):
        merged(unlike, wanted)


@every_method
def test_a_head_tied_in_some_inputs_alone_is_refused_by_name(tmp_path: Path, method: Method) -> None:
    """A routed method is told to name a parent that has it."""
    made = three(tmp_path, lambda place, s: {**s, "lm_head.weight": torch.ones(3)} if place == 2 else s)
    told = r"lm_head\.weight: in parent 2, missing in .*\n.*one way of tying"
    if giver(method):
        told = rf"lm_head\.weight: {giver(method)} takes it from parent 1; it is in parent 2\nName a parent"
    with pytest.raises(Unmergeable, match=told):
        planned(made, recipe(method.name))


@every_method
def test_names_that_a_live_model_lacks_are_passed_over_and_the_others_are_merged(
    tmp_path: Path, method: Method
) -> None:
    made, wanted = three(tmp_path), recipe(method.name, dtype="float32")
    live = {"w": torch.full((7, 9), 7.0)}
    engine.merge_into(planned(made, wanted), made.sources, live, made.manifests)
    assert list(live) == ["w"]
    assert torch.equal(live["w"], merged(made, wanted)["w"])


@every_method
def test_mixed_types_give_the_bytes_of_the_same_values_in_float32(tmp_path: Path, method: Method) -> None:
    """Widening is exact. The three types take turns over inputs and tensors."""

    def mixed(place: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: t.to(FLOATS[(place + turn) % 3]) for turn, (name, t) in enumerate(state.items())}

    def widened(place: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.float() for name, tensor in mixed(place, state).items()}

    wanted = recipe(method.name, parents=count_of(method), dtype="float16")
    mixed_files = written(three(tmp_path / "m", mixed), wanted, tmp_path / "out-m").files
    assert written(three(tmp_path / "w", widened), wanted, tmp_path / "out-w").files == mixed_files


@every_method
def test_a_type_that_cannot_be_widened_exactly_is_refused_with_its_tensor(
    tmp_path: Path, method: Method
) -> None:
    made = three(tmp_path, lambda place, s: {**s, "w": s["w"].double()} if place == 1 else s)
    told = "w of parent 1: float64" if giver(method) else "w: float32, float64"
    with pytest.raises(Unmergeable, match=re.escape(f"{told} cannot be merged. Convert to one of")):
        planned(made, recipe(method.name))


@pytest.mark.parametrize("out", ["bfloat16", "float16"])
def test_the_output_has_the_type_of_the_recipe_and_no_other(tmp_path: Path, out: str) -> None:
    made = checkpoints(tmp_path, {"w": numbers(1, 2).half()}, {"w": numbers(3, 4).bfloat16()}, first=1)
    found = merged(made, recipe("linear", dtype=out))["w"]
    assert found.dtype == getattr(torch, out)
    assert found.tolist() == [2, 3]
