"""Every method of the registry, every choice and flag that it declares, against the float64 reference.

Settings of numbers come from tests/reference/table.py. Nothing is listed here by method: one that is added
is covered, or a test fails by its name. test_conformance.py has more numbers and longer tensors.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.core.weights import registry
from stages.core.weights.method import Method
from tests.core.weights.family import LABELS, Family, recipe, values
from tests.core.weights.merging import assert_conforms, checkpoints, merged
from tests.reference import table

FLOATS = ("float32", "bfloat16", "float16")
LEAF = 1 << 16  # elements in a leaf of a reduction
SIZES = {f"of_{size}": size for size in (0, 1, 99, 255, 256, 257)}
LEAVES = {f"of_{size}": size for size in (LEAF - 1, LEAF, LEAF + 1, 2 * LEAF - 1, 2 * LEAF + 1)} | {
    "h.0.w": LEAF + 1
}
LAYERS = [f"h.{layer}.matrix" for layer in range(3)]
LINES = [0.5, -0.75, 0.3]  # a, b, outside layers: factors 0.5, 0.125 and -0.25 in three layers
Members = dict[str, tuple[Family, list[dict[str, Tensor]]]]


def member(place: int, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """float32 tensors of the base (place 0) or of a fine-tune: vectors of the given sizes."""
    found = {}
    for seed, (name, size) in enumerate(sizes.items()):
        moved = values(1000 * place + seed, (size,), 0.1, torch.float32) if place else torch.zeros(size)
        if size == 1:
            moved = moved.abs()  # two scalars of unlike sign are antiparallel
        found[name] = values(seed + 1, (size,), 1.0, torch.float32).abs() + moved
    return found


def small(place: int) -> dict[str, Tensor]:
    """`member` of SIZES, with what has bitten merge tools besides: equal magnitudes, zeros, equal parents."""
    found = member(place, SIZES)
    found["scalar"] = found["of_1"].reshape(())
    for seed, name in enumerate(LAYERS):
        found[name] = values(50 + seed, (15, 17), 1.0, torch.float32)
        if place:
            found[name] += values(1000 * place + 50 + seed, (15, 17), 0.1, torch.float32)
    steps = (values(60 + place, (200,), 3.0, torch.float32)).round() / 16 if place else 0.0
    found["equal_magnitudes"] = values(60, (200,), 16.0, torch.float32).round() / 8 + steps
    base = values(70, (77,), 1.0, torch.float32)
    found["zero_deltas"] = base
    found["first_is_base"] = base + (values(80 + place, (77,), 0.1, torch.float32) if place > 1 else 0.0)
    found["equal_parents"] = base + (values(90, (77,), 0.1, torch.float32) if place else 0.0)
    found["all_zeros"] = torch.zeros(77)
    return found


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """Seventeen small checkpoints in each float type, beside their tensors."""
    found = {}
    for dtype in FLOATS:
        kind = getattr(torch, dtype)
        states = [{n: tensor.to(kind) for n, tensor in small(place).items()} for place in range(17)]
        found[dtype] = checkpoints(tmp_path_factory.mktemp(dtype), *states), states
    return found


def parents_of(method: Method) -> list[int]:
    """2, 3 and 16, as far as the method takes so many."""
    return [count for count in (2, 3, 16) if method.parents[0] <= count <= method.parents[1]]


def cases(method: Method, parents: int) -> list[dict[str, Any]]:
    """The first setting and the defaults, each with all choices and flags; the other settings; the lines.

    For more than three parents the defaults come once.
    """
    legal: dict[str, Any] = {
        p.name: p.choices or (True, False) for p in method.parameters if p.kind in ("choice", "flag")
    }
    crossed = [dict(zip(legal, chosen, strict=True)) for chosen in product(*legal.values())]
    first, others = _split(table.ENTRIES[method.name].settings(parents))
    starts = [*first, {}] if parents <= 3 else first
    found = [{**setting, **chosen} for setting in starts for chosen in crossed]
    others += [] if parents <= 3 else [{}]
    lined = [{**setting, registry.LINES: LINES} for setting in ({}, *first) if method.space == "delta"]
    return [*found, *others, *lined]


def _split(settings: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return list(settings[:1]), list(settings[1:])


def test_the_table_has_a_reference_for_every_method_and_none_besides() -> None:
    assert sorted(table.ENTRIES) == sorted(registry.BY_NAME), "add one line to tests/reference/table.py"


@pytest.mark.parametrize("method", registry.METHODS, ids=lambda method: method.name)
def test_every_value_of_every_parameter_is_held_against_the_reference(method: Method) -> None:
    """Each choice, both values of a flag, and of the rest the default and at least one other.

    Where parents may have numbers of their own, one for all and one for each; a late one is left out of a
    recipe at its default.
    """
    tried = [registry.resolve(method.name, case, 2) for case in cases(method, 2)]
    for parameter in method.parameters:
        seen = {repr(one.get(parameter.name, parameter.default)) for one in tried}
        wanted = {"choice": len(parameter.choices), "flag": 2}.get(parameter.kind, 2)
        assert len(seen) >= wanted, f"{method.name}.{parameter.name}: only {sorted(seen)}"
        if parameter.kind == "one_or_each":
            kinds = {type(one[parameter.name]) for one in tried}
            assert kinds == {float, tuple}, f"{method.name}.{parameter.name}: only {kinds}"


def assert_every_tensor_conforms(
    given: tuple[Family, list[dict[str, Tensor]]],
    method: str,
    options: dict[str, Any],
    dtype: str,
    parents: int,
) -> None:
    """Hold every tensor of one merge against the reference."""
    made, states = given
    wanted = recipe(method, parents=parents, dtype=dtype, **options)
    arrays = [{name: t.double().numpy() for name, t in state.items()} for state in states[: parents + 1]]
    base = arrays[0] if registry.get(method).space == "delta" else None
    resolved = dict(wanted.parameters)
    lines = resolved.pop(registry.LINES, None)
    decided = total = 0
    for name, got in merged(made, wanted).items():
        problem = table.Problem(name, base, arrays[1:], LABELS[1 : parents + 1], resolved, wanted.seed)
        if got.numel() == 0:
            assert got.shape == problem.tensors[0].shape
            continue
        want = table.expected(problem, method)
        terms = table.ENTRIES[method].terms(problem)
        if lines:
            factor = 0.5 - 0.375 * int(name[2]) if name in LAYERS else LINES[2]
            want = problem.origin + factor * (want - problem.origin)
        what = f"{name} of {method} {options}, {parents} parents to {dtype}"
        assert_conforms(got, want, terms, dtype, ulps=parents + 2, what=what)
        decided, total = decided + int(np.isfinite(want).sum()), total + want.size
    assert decided > 0.9 * total  # deltas of bfloat16 have few bits: signs and thresholds tie often


@pytest.mark.parametrize(
    ("method", "parents"),
    [(method.name, parents) for method in registry.METHODS for parents in parents_of(method)],
)
def test_every_choice_and_flag_conforms_in_every_type(members: Members, method: str, parents: int) -> None:
    """Types take turns, so that each case is merged in all three over the numbers of parents.

    A method with one number of parents takes all three at once; the least number has a pair of unlike types.
    """
    counts = parents_of(registry.get(method))
    unlike = [(given, out) for given in FLOATS for out in FLOATS if given != out]
    for turn, options in enumerate(cases(registry.get(method), parents)):
        turns = range(3) if len(counts) == 1 else [turn + counts.index(parents)]
        pairs = [(FLOATS[place % 3], FLOATS[place % 3]) for place in turns]
        if parents == counts[0]:
            pairs.append(unlike[turn % 6])
        for given, out in pairs:
            assert_every_tensor_conforms(members[given], method, options, out, parents)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, list[dict[str, Tensor]]]:
    """Four checkpoints in bfloat16 with tensors about one and two leaves long."""
    states = [{n: t.bfloat16() for n, t in member(place, LEAVES).items()} for place in range(4)]
    return checkpoints(tmp_path_factory.mktemp("leaves"), *states), states


@pytest.mark.parametrize("method", registry.METHODS, ids=lambda method: method.name)
def test_tensors_about_a_leaf_of_the_reductions_conform(longer: Any, method: Method) -> None:
    parents = parents_of(method)[:2][-1]
    first, _ = _split(table.ENTRIES[method.name].settings(parents))
    for options in first or [{}]:
        assert_every_tensor_conforms(longer, method.name, options, "bfloat16", parents)
