"""The places where merge tools go wrong, one test each, through the whole engine.

Traps that a block function shows by itself are in test_methods.py and test_more_methods.py.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.core.errors import BadRequest, Unmergeable
from stages.core.weights import registry
from stages.core.weights.numerics import LEAF
from tests.core.weights.family import LABELS, Family, planned, recipe, values
from tests.core.weights.merging import checkpoints, merged, numbers, written
from tests.reference import draws, merges


def one(
    root: Path, method: str, parents: Sequence[Tensor], *, base: Tensor | None = None, **given: Any
) -> Tensor:
    """The merge of one tensor `w` in float32; the base is zeros unless given."""
    zeros = torch.zeros_like(parents[0]) if base is None else base
    made = checkpoints(root, *[{"w": tensor} for tensor in (zeros, *parents)])
    return merged(made, recipe(method, parents=len(parents), dtype="float32", **given))["w"]


def random(count: int, *, base: int = 1) -> list[Tensor]:
    """A base and two fine-tunes, float32 [count]."""
    whole = values(base, (count,), 1.0, torch.float32)
    return [
        whole,
        whole + values(12, (count,), 0.1, torch.float32),
        whole + values(13, (count,), 0.1, torch.float32),
    ]


# linear, task arithmetic


def test_weights_that_cancel_by_rule_are_refused_with_the_first_tensor_they_cancel_in(tmp_path: Path) -> None:
    made = checkpoints(tmp_path, *[{"a": numbers(1), "b": numbers(2), "c": numbers(3)}] * 2, first=1)
    weights = [{"match": "b", "value": [1.0, 2.0]}, {"match": "*", "value": [1.0, -1.0]}]
    with pytest.raises(BadRequest) as caught:
        planned(made, recipe("linear", weights=weights))
    problem = "linear.weights: [1.0, -1.0] sum to zero. Change one, or set normalise: false"
    assert list(caught.value.problems) == [f"a: {problem}"]


def test_weights_that_cancel_are_a_difference_where_nothing_divides_by_their_sum(tmp_path: Path) -> None:
    found = one(tmp_path, "linear", [numbers(5, 7), numbers(2, 3)], weights=[1.0, -1.0], normalise=False)
    assert found.tolist() == [3, 4]


def test_the_base_may_be_a_parent_of_a_linear_merge(tmp_path: Path) -> None:
    """WiSE-FT: a quarter of the way from the base to its expert."""
    made = checkpoints(tmp_path, {"w": numbers(0, 8)}, {"w": numbers(4, 0)})
    wanted = dataclasses.replace(
        recipe("linear", dtype="float32", weights=[0.75, 0.25]), base=None, parents=LABELS[:2]
    )
    assert merged(made, wanted)["w"].tolist() == [1, 6]


def test_task_vectors_add_up_unless_their_mean_is_asked_for(tmp_path: Path) -> None:
    """From 1: task vectors 2 and 4 make 7 at lambda 1, and 4 if normalised; the default lambda is 0.4."""
    base, parents = numbers(1), [numbers(3), numbers(5)]
    found = [
        one(tmp_path / str(place), "task_arithmetic", parents, base=base, **given).item()
        for place, given in enumerate(({"scale": 1.0}, {"scale": 1.0, "normalise": True}, {}))
    ]
    assert found[:2] == [7, 4]
    assert found[2] == pytest.approx(1 + 0.4 * 6, rel=2**-23)


def test_a_negative_weight_takes_its_task_vector_away(tmp_path: Path) -> None:
    found = one(
        tmp_path, "task_arithmetic", [numbers(3), numbers(9)], base=numbers(1), weights=[1.0, -1.0], scale=1.0
    )
    assert found.tolist() == [1 + 2 - 8]


# slerp, karcher


def turned(a: Tensor, angle_rad: float, length: float) -> Tensor:
    """float32: `a` (of even size) turned by an angle and stretched, in float64 until the last rounding."""
    wide = a.double()
    across = torch.cat([-wide[len(a) // 2 :], wide[: len(a) // 2]])
    return ((math.cos(angle_rad) * wide + math.sin(angle_rad) * across) * length).float()


@pytest.mark.parametrize("angle", [2e-4, 1e-3, 0.02])
def test_slerp_takes_the_arc_between_fine_tunes_whose_cosine_exceeds_the_limit_of_other_tools(
    tmp_path: Path, angle: float
) -> None:
    """All have cos > 0.9995, where the arc is commonly dropped without a word. The note holds the angle."""
    a = values(1, (5000,), 1.0, torch.float32)
    b = turned(a, angle, 3.0)
    made = checkpoints(tmp_path / "family", {"w": a}, {"w": b}, first=1)
    note: Any = written(made, recipe("slerp", dtype="float32", t=0.3), tmp_path / "out").notes["w"]
    assert note["branch"] == "arc"
    assert float.fromhex(note["angle_rad"]) == pytest.approx(angle, abs=1e-8)
    want = merges.slerp(a.double().numpy(), b.double().numpy(), 0.3, chord_below_rad=1e-4)
    np.testing.assert_allclose(merged(made, recipe("slerp", dtype="float32", t=0.3))["w"], want, rtol=5e-7)


def test_slerp_at_a_cosine_over_0_9995_is_not_the_chord(tmp_path: Path) -> None:
    """0.03 rad: halfway, the arc is longer than the chord by angle^2 / 8 = 1.1e-4 of its length."""
    a = values(1, (5000,), 1.0, torch.float32)
    b = turned(a, 0.03, 1.0)
    arc = one(tmp_path, "slerp", [a, b]).double().norm().item()
    assert arc / ((a + b) / 2).double().norm().item() - 1 == pytest.approx(0.03**2 / 8, rel=1e-2)


@pytest.mark.parametrize("method", ["slerp", "task_slerp"])
@pytest.mark.parametrize("short_of_pi", [0.0, 5e-5])
def test_no_arc_joins_what_is_antiparallel_or_all_but(
    tmp_path: Path, method: str, short_of_pi: float
) -> None:
    a = values(1, (5000,), 1.0, torch.float32)
    with pytest.raises(Unmergeable, match=r"cannot merge tensor 'w': .*point in opposite directions"):
        one(tmp_path, method, [a, turned(a, math.pi - short_of_pi, 2.0)])


def test_task_slerp_notes_the_branch_of_each_tensor(tmp_path: Path) -> None:
    tensors = [
        {"arc": numbers(1, 0), "chord": numbers(1, 2), "opposite": numbers(1, -1), "half": numbers(0, 0)},
        {"arc": numbers(0, 1), "chord": numbers(2, 4), "opposite": numbers(-3, 3), "half": numbers(1, 1)},
    ]
    tensors = [{**state, "zero": torch.zeros(2)} for state in tensors]
    base = {name: torch.zeros(2) for name in tensors[0]}
    made = checkpoints(tmp_path / "family", base, *tensors)
    notes: Any = written(made, recipe("task_slerp", opposite="chord"), tmp_path / "out").notes
    assert {name: note["branch"] for name, note in notes.items()} == {
        "arc": "arc",
        "chord": "chord",
        "half": "chord",
        "opposite": "chord",
        "zero": "zero",
    }
    assert notes["half"]["zero"] == "first"
    assert float.fromhex(notes["opposite"]["angle_rad"]) == pytest.approx(math.pi)


def test_karcher_records_for_each_tensor_where_it_stopped(tmp_path: Path) -> None:
    made = checkpoints(
        tmp_path / "family",
        *[{"w": values(seed, (99,), 1.0, torch.float32).abs(), "z": torch.zeros(3)} for seed in (1, 2, 3)],
        first=1,
    )
    loose, tight = (
        written(made, recipe("karcher", parents=3, tolerance_rad=limit), tmp_path / str(limit)).notes
        for limit in (1e-3, 1e-9)
    )
    steps: list[Any] = [loose["w"], tight["w"]]
    assert float.fromhex(steps[0]["step_rad"]) < 1e-3
    assert float.fromhex(steps[1]["step_rad"]) < 1e-9
    assert 1 <= steps[0]["iterations"] < steps[1]["iterations"]
    assert tight["z"] == {"branch": "zero"}


@pytest.mark.parametrize(
    ("parents", "problem"),
    [
        ([numbers(1, 2), numbers(-2, -4)], "directions cancel"),
        ([numbers(1, 2), numbers(0, 0)], "some parents are all zeros"),
    ],
)
def test_karcher_names_the_tensor_that_has_no_mean_direction(
    tmp_path: Path, parents: list[Tensor], problem: str
) -> None:
    with pytest.raises(Unmergeable, match=rf"cannot merge tensor 'w': .*{problem}"):
        one(tmp_path, "karcher", parents)


# TIES


@pytest.mark.parametrize("election", ["sum_weighted", "sum", "count"])
def test_votes_that_cancel_elect_plus_whichever_parent_comes_first(tmp_path: Path, election: str) -> None:
    given = {"density": 1.0, "election": election}
    parents = [numbers(-2, 3, 0.1), numbers(2, -3, -0.1)]
    for turn in (1, -1):
        found = one(tmp_path / str(turn), "ties", parents[::turn], **given)
        assert torch.equal(found, numbers(2, 3, 0.1))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_lowest_indices_stay_among_equal_magnitudes_across_blocks(tmp_path: Path, threads: int) -> None:
    """Of 2^17 + 9 equal magnitudes density 0.75 keeps the first 98,310: the cut lies in the second block."""
    count = 2 * LEAF + 9
    sign = values(3, (count,), 1.0, torch.float32).sign()
    made = checkpoints(
        tmp_path, *[{"w": tensor} for tensor in (torch.zeros(count), sign / 8, torch.zeros(count))]
    )
    wanted = recipe("ties", density=0.75, dtype="float32")
    found = merged(made, wanted, threads=threads, block_elements=LEAF)["w"]
    assert torch.equal(found[:98_310], sign[:98_310] / 8)
    assert not found[98_310:].any()


def test_trimming_is_by_tensor_and_a_small_one_keeps_its_greatest_entry(tmp_path: Path) -> None:
    """The whole of `small` is below every entry of `great`; 0.2 of 4 entries is less than one."""
    parent = {"great": numbers(50, 60, 70, 80, 90), "small": numbers(0.1, -0.4, 0.3, 0.2)}
    zeros = {name: torch.zeros_like(tensor) for name, tensor in parent.items()}
    found = merged(checkpoints(tmp_path, zeros, parent, zeros), recipe("ties", density=0.2, dtype="float32"))
    assert found["great"].tolist() == [0, 0, 0, 0, 90]
    assert torch.equal(found["small"], numbers(0, -0.4, 0, 0))


# DARE, DELLA: masks


def kept(
    root: Path,
    *,
    name: str = "w",
    seed: int = 5,
    parents: Sequence[str] = LABELS[1:3],
    dtype: str = "float32",
    shape: tuple[int, ...] = (6, 50),
    extra: bool = False,
) -> Tensor:
    """bool: where the first of `parents` was kept, when its task vector is all ones and the others' zeros."""
    made = Family(root, {}, {})
    other = {"v": torch.ones(7), "x": torch.ones(7)} if extra else {}
    for label in (LABELS[0], *parents):
        made.add(label, {name: torch.full(shape, float(label == parents[0])), **other})
    wanted = recipe("dare_linear", parents=len(parents), dtype=dtype, seed=seed)
    return merged(made, dataclasses.replace(wanted, parents=tuple(parents)))[name] != 0


def test_a_mask_follows_from_seed_parent_tensor_and_element_and_from_nothing_else(tmp_path: Path) -> None:
    plain = kept(tmp_path / "plain")
    assert torch.equal(plain, torch.from_numpy(draws.kept(5, LABELS[1], "w", 300, 0.5)).reshape(6, 50))
    same = {
        "another type": {"dtype": "bfloat16"},
        "other tensors beside it": {"extra": True},
        "more parents": {"parents": LABELS[1:5]},
        "another second parent": {"parents": (LABELS[1], LABELS[9])},
        "another shape": {"shape": (300,)},
    }
    for what, given in same.items():
        assert torch.equal(kept(tmp_path / what, **given).reshape(6, 50), plain), what
    other = {"seed": {"seed": 6}, "parent": {"parents": LABELS[2:4]}, "tensor": {"name": "w2"}}
    for what, given in other.items():
        assert not torch.equal(kept(tmp_path / what, **given), plain), what
    assert torch.equal(kept(tmp_path / "longer", shape=(600,))[:300], plain.reshape(-1)), "element"


@pytest.mark.parametrize("method", [m.name for m in registry.METHODS if m.random])
def test_one_tensor_of_a_random_merge_can_be_rebuilt_alone(tmp_path: Path, method: str) -> None:
    states = [
        {name: values(10 * place + seed, (9, 7), 1.0, torch.float32) for seed, name in enumerate("abc", 1)}
        for place in range(3)
    ]
    whole = merged(checkpoints(tmp_path / "whole", *states), recipe(method, dtype="float32"))
    alone = checkpoints(tmp_path / "alone", *[{"b": state["b"]} for state in states])
    assert torch.equal(merged(alone, recipe(method, dtype="float32"))["b"], whole["b"])


@pytest.mark.parametrize(("drop", "of_65536"), [(0.5, 32768), (0.9, 58982), (0.1, 6554)])
def test_dare_keeps_the_expected_task_vector_by_dividing_by_the_share_kept(
    tmp_path: Path, drop: float, of_65536: int
) -> None:
    """Not multiplied by it, not divided by the share dropped; the mean stays 1 within five sigma."""
    ones, zeros = torch.ones(LEAF), torch.zeros(LEAF)
    found = one(tmp_path, "dare_linear", [ones, zeros], drop=drop, scale=1.0)
    assert set(found.tolist()) == {0.0, float(np.float32(65536 / (65536 - of_65536)))}
    assert found.double().mean().item() == pytest.approx(1.0, abs=5 * math.sqrt(drop / (1 - drop) / LEAF))


def test_della_keeps_greater_entries_of_each_row_more_often(tmp_path: Path) -> None:
    """Rows of 64 with magnitudes 1 to 64, each in another order; keep probabilities run from 0.1 to 0.9."""
    rows = torch.stack([torch.arange(1.0, 65.0).roll(place * 7) for place in range(1024)])
    found = one(
        tmp_path, "della_linear", [rows, torch.zeros_like(rows)], density=0.5, epsilon=0.4, rescale="none"
    )
    share = [(found[rows == magnitude] != 0).double().mean().item() for magnitude in (1.0, 32.0, 64.0)]
    expected = [0.1, 0.1 + 0.8 * 31 / 63, 0.9]
    assert share == pytest.approx(expected, abs=5 * math.sqrt(0.25 / 1024))


# breadcrumbs, model stock, consensus, SCE, LiNeS


@pytest.mark.parametrize(("size", "gone"), [(1, 0), (49, 0), (50, 1), (99, 1), (100, 2)])
def test_breadcrumbs_drop_the_greatest_only_from_one_over_gamma_elements_on(
    tmp_path: Path, size: int, gone: int
) -> None:
    """gamma = 0.02: a norm of 49 entries keeps its greatest, which a known tool erased."""
    delta = torch.arange(1.0, size + 1.0)
    found = one(tmp_path, "breadcrumbs", [delta, torch.zeros(size)], gamma=0.02, density=0.98, scale=1.0)
    assert torch.equal(found[size - gone :], torch.zeros(gone))
    assert found[size - gone - 1] == size - gone


def test_model_stock_of_three_by_hand(tmp_path: Path) -> None:
    """Pairs at cos 1/2: t = 3/2 / (1 + 2/2) = 3/4 of the mean, the rest the base."""
    deltas = [numbers(1, 1, 0), numbers(1, 0, 1), numbers(0, 1, 1)]
    base = numbers(8, 8, 8)
    found = one(tmp_path, "model_stock", [base + delta for delta in deltas], base=base)
    assert found.tolist() == pytest.approx([8.5] * 3, rel=2**-22)


def test_consensus_keeps_what_two_of_three_tasks_need(tmp_path: Path) -> None:
    """Threshold 1/2. Entry 0: two of three. Entry 1: one alone. Entry 2: all. Entry 3: two that oppose."""
    tasks = [numbers(2, 9, 1, 3), numbers(2, 0, 1, -3), numbers(0, 0, 1, 0)]
    found = one(tmp_path, "consensus", tasks, thresholds=0.5, scale=1.0)
    assert found.tolist() == [4, 0, 3, 0]


def test_sce_selects_by_spread_not_by_magnitude(tmp_path: Path) -> None:
    """The parents agree on the great entry 0, and differ in the small entry 2."""
    found = one(tmp_path, "sce", [numbers(100, 1, 3), numbers(100, 1, -1)], density=0.34)
    assert found.tolist() == pytest.approx([0, 0, 3], rel=2**-22)


def test_lines_scale_the_delta_and_never_the_base(tmp_path: Path) -> None:
    """Layers at 0.5 and 1.5 of the delta 2 over a base of 10, a tensor outside at 0: 11, 13 and 10."""
    names = ("h.0.w", "h.1.w", "norm")
    made = checkpoints(tmp_path, *[{name: numbers(value) for name in names} for value in (10, 12, 12)])
    wanted = recipe("task_arithmetic", weights=[0.5, 0.5], scale=1.0, lines=[0.5, 1.0, 0.0], dtype="float32")
    assert [merged(made, wanted)[name].item() for name in names] == [11, 13, 10]
