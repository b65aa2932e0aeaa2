"""What is measured of a family before it is merged: numbers worked out by hand, the same for every cut."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.core.errors import BadCheckpoint
from stages.core.weights import basin, likeness, matching, units
from stages.core.weights.index import Side
from stages.core.weights.likeness import Compared, Likeness, Sums, fold_along, gram_of, measure
from stages.core.weights.numerics import REGION
from stages.core.weights.reader import Checkpoint
from stages.core.weights.units import rescaled, strayed
from tests.core.weights.family import counted, save

EXACT = torch.float32


def side(folder: Path, role: str, **tensors: Any) -> Side:
    """A checkpoint of these tensors, named with dots for double underscores."""
    place = folder / role
    place.mkdir()
    state = {
        name.replace("__", "."): torch.as_tensor(values, dtype=None if torch.is_tensor(values) else EXACT)
        for name, values in tensors.items()
    }
    save(state, place / "model.safetensors")
    sha256 = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.glob("*.safetensors")
    }
    return Side(role, place, sha256)


def sums(own: list[float], across: list[float], theirs: list[float]) -> Sums:
    return Sums(np.array(own), [np.array(across)], [np.array(theirs)])


def compared(rows: Sums | None = None, columns: Sums | None = None) -> Compared:
    return Compared(0, [], [0], [], rows, columns)


def test_dot_products_counts_and_signs_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    base = side(tmp_path, "base", w=[[1.0, 2.0], [3.0, 4.0]])
    one = side(tmp_path, "one", w=[[2.0, 2.0], [3.0, 2.0]])  # delta 1 0 0 -2
    two = side(tmp_path, "two", w=[[2.0, 1.0], [3.0, 5.0]])  # delta 1 -1 0 1
    found = measure([base, one, two]).tensors["w"]
    assert found.gram == [30.0, 1 * 2 + 2 * 2 + 3 * 3 + 4 * 2, 2 + 2 + 9 + 20, 21.0, 4 + 2 + 9 + 10, 39.0]
    assert found.differing == [2, 3]
    assert found.signs == [(2, 1)]  # both moved in two places, one way in the first
    assert found.rows is not None
    assert found.columns is not None
    assert found.rows.own.tolist() == [5.0, 25.0]
    assert [values.tolist() for values in found.rows.across] == [[6.0, 17.0], [4.0, 29.0]]
    assert found.columns.own.tolist() == [10.0, 20.0]
    assert [values.tolist() for values in found.columns.theirs] == [[13.0, 8.0], [13.0, 26.0]]


def test_a_vector_has_its_entries_for_units_and_a_long_one_has_none(tmp_path: Path) -> None:
    long = torch.ones(REGION + 1)
    base = side(tmp_path, "base", norm=[1.0, 2.0], long=long)
    parent = side(tmp_path, "parent", norm=[3.0, 4.0], long=2 * long)
    found = measure([base, parent]).tensors
    assert found["norm"].rows is None
    assert found["norm"].columns is not None
    assert found["norm"].columns.across[0].tolist() == [3.0, 8.0]
    assert found["long"].columns is None
    assert found["long"].gram == [REGION + 1.0, 2.0 * (REGION + 1), 4.0 * (REGION + 1)]


def test_the_survey_gives_cosine_and_norms_of_the_whole_and_of_each_layer(tmp_path: Path) -> None:
    base = side(tmp_path, "base", layers__0__w=[3.0, 4.0], layers__1__w=[5.0, 0.0], head=[1.0])
    parent = side(tmp_path, "a", layers__0__w=[4.0, 3.0], layers__1__w=[10.0, 0.0], head=[1.0])
    tree = basin.survey([base, parent], least_cosine=0.5, rescale=1.5, head_dim=None)
    found = tree["parents"]["a"]
    assert found["cosine"] == pytest.approx(75 / np.sqrt(51 * 126))
    assert found["relative_norm"] == pytest.approx(np.sqrt(27 / 51))
    assert found["groups"]["layers.0"] == pytest.approx(
        {"cosine": 24 / 25, "relative_norm": np.sqrt(2) / 5, "norm_ratio": 1.0}
    )
    assert found["groups"]["layers.1"] == {"cosine": 1.0, "relative_norm": 1.0, "norm_ratio": 2.0}
    assert found["groups"]["head"] == {"cosine": 1.0, "relative_norm": 0.0, "norm_ratio": 1.0}
    assert found["differing"] == 3
    assert tree["elements"] == 5


def test_task_vectors_of_two_parents_are_compared(tmp_path: Path) -> None:
    base = side(tmp_path, "base", w=[1.0, 1.0, 1.0])
    one = side(tmp_path, "a", w=[2.0, 1.0, 1.0])
    two = side(tmp_path, "b", w=[2.0, 2.0, 1.0])
    same = side(tmp_path, "c", w=[1.0, 1.0, 1.0])
    pairs = basin.survey([base, one, two, same], least_cosine=0.5, rescale=1.5, head_dim=None)["pairs"]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs[0]["cosine"] == pytest.approx(1 / np.sqrt(2))
    assert pairs[0]["distance"] == pytest.approx(1 / np.sqrt(3))
    assert pairs[0]["sign_agreement"] == 1.0
    assert pairs[1]["cosine"] is None
    assert pairs[1]["sign_agreement"] is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_quantiles_of_deltas_are_those_of_a_sort_rounded_up_by_less_than_a_bin(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    values = torch.from_numpy(counted(5, 9999).astype(np.float32)).to(dtype)
    base = side(tmp_path, "base", w=torch.zeros_like(values))
    parent = side(tmp_path, "a", w=values)
    found = measure([base, parent]).quantiles(0)
    ordered = np.sort(np.abs(values.float().numpy()))
    for share, got in found.items():
        exact = float(ordered[max(1, int(float(share) * 9999)) - 1])
        assert exact < got <= exact * (1 + 1 / 128)


def test_quantiles_of_no_change_are_zero(tmp_path: Path) -> None:
    base = side(tmp_path, "base", w=[1.0, 2.0])
    same = side(tmp_path, "a", w=[1.0, 2.0])
    assert set(measure([base, same]).quantiles(0).values()) == {0.0}


@pytest.mark.parametrize("shape", [(1000, 700), (3, REGION // 2 + 5), (2, 3, 5), ()])
def test_sums_over_many_blocks_agree_with_numpy(tmp_path: Path, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    one, two = (counted(seed, count).astype(np.float32).reshape(shape) for seed in (1, 2))
    found = measure(
        [side(tmp_path, "a", w=torch.tensor(one)), side(tmp_path, "b", w=torch.tensor(two))]
    ).tensors["w"]
    wide = [values.astype(np.float64) for values in (one, two)]
    expected = [float((wide[i] * wide[j]).sum()) for i, j in ((0, 0), (0, 1), (1, 1))]
    np.testing.assert_allclose(found.gram, expected, rtol=1e-12)
    if len(shape) == 2:
        assert found.rows is not None
        assert found.columns is not None
        np.testing.assert_allclose(found.rows.across[0], (wide[0] * wide[1]).sum(1), rtol=1e-9)
        np.testing.assert_allclose(found.columns.theirs[0], (wide[1] * wide[1]).sum(0), rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 64, 65])
def test_a_fold_adds_the_upper_half_to_the_lower(axis: int, count: int) -> None:
    values = np.arange(2.0 * count).reshape((count, 2) if axis == 0 else (2, count))
    np.testing.assert_array_equal(fold_along(values, axis), values.sum(axis))
    # an order that a plain sum does not have: (1 + -1) + (2^53 + -2^53) is 0 by halves only if 1 meets -1
    trap = np.array([[1.0, 2.0**53, -1.0, -(2.0**53)]])
    assert fold_along(trap, 1).tolist() == [0.0]


def test_bytes_that_are_not_those_of_the_manifest_are_refused(tmp_path: Path) -> None:
    base, parent = side(tmp_path, "base", w=[1.0]), side(tmp_path, "a", w=[2.0])
    path = parent.folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadCheckpoint, match=r"\[file-altered\].*is not what its manifest says"):
        measure([base, parent])


def test_a_file_that_no_manifest_names_is_refused(tmp_path: Path) -> None:
    base, parent = side(tmp_path, "base", w=[1.0]), side(tmp_path, "a", w=[2.0])
    with pytest.raises(BadCheckpoint, match=r"the manifest of a lacks \['model.safetensors'\]"):
        measure([base, Side("a", parent.folder, {})])


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="a has other tensors than base"):
        measure([side(tmp_path, "base", w=[1.0]), side(tmp_path, "a", w=[1.0, 2.0])])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_what_is_not_finite_or_might_overflow_is_listed_once_and_counts_as_zero(
    tmp_path: Path, value: float
) -> None:
    base = side(tmp_path, "base", w=[1.0, 2.0], v=[1.0])
    parent = side(tmp_path, "a", w=[value, 2.0], v=[1.0])
    found = measure([base, parent])
    assert found.not_finite == [("a", "w")]
    assert found.tensors["w"].gram == [5.0, 4.0, 4.0]


def test_integers_are_left_out(tmp_path: Path) -> None:
    base = side(tmp_path, "base", w=[1.0], ids=torch.tensor([1, 2]))
    assert list(measure([base, side(tmp_path, "a", w=[1.0], ids=torch.tensor([1, 3]))]).tensors) == ["w"]


def test_gram_matrices_of_tensors_add_up() -> None:
    tensors = [Compared(1, [1.0, 2.0, 3.0], [0], []), Compared(1, [10.0, 20.0, 30.0], [0], [])]
    assert gram_of(tensors, 2).tolist() == [[11.0, 22.0], [22.0, 33.0]]


def test_a_block_of_a_matrix_holds_whole_rows(tmp_path: Path) -> None:
    rows = REGION // 1000 + 1
    folder = side(tmp_path, "a", w=torch.zeros(rows, 1000)).folder
    spec = Checkpoint(folder).tensors["w"]
    cuts = [(end - start) // 4 for start, end, _ in likeness.blocks(spec)]
    assert cuts == [(rows - 1) * 1000, 1000]


def test_units_of_zeros_agree_with_each_other_alone() -> None:
    tensor = compared(rows=sums([0.0, 0.0, 4.0], [0.0, 0.0, 4.0], [0.0, 9.0, 4.0]))
    found = Likeness({"x.mlp.up_proj.weight": tensor}, [])
    (one,) = strayed(found, 0, 0.5)
    assert one.lost == (1,)
    assert (one.least, one.units, one.kind) == (0.0, 3, "neurons")


def scaled(**squares: tuple[list[float], list[float]]) -> Likeness:
    """Squared norms in base and parent of the rows and columns of matrices of one layer."""
    return Likeness(
        {
            f"layers.0.{name.replace('__', '.')}.weight": compared(
                rows=sums(own, own, theirs), columns=sums(own, own, theirs)
            )
            for name, (own, theirs) in squares.items()
        },
        [],
    )


def test_a_unit_scaled_up_whose_partner_was_scaled_down_is_rescaled_by_the_smaller_factor() -> None:
    ones = [1.0, 1.0, 1.0, 1.0]
    # factors of norms: up 2 · 2 · 1/4 · 1, down 1/3 · 2 · 3 · 1/9
    found = scaled(
        mlp__up_proj=(ones, [4.0, 4.0, 1 / 16, 1.0]), mlp__down_proj=(ones, [1 / 9, 4.0, 9.0, 1 / 81])
    )
    (pair,) = rescaled(found, 0, 2.0, None)
    assert pair.units == 2
    assert pair.factor == pytest.approx(3.0)
    assert pair.partners == ("layers.0.mlp.down_proj.weight",)


def test_query_heads_that_share_a_key_head_are_its_partner_together() -> None:
    # 2 key heads of 2 rows; 4 query heads, 0 and 1 on the first key head
    keys = ([1.0] * 4, [4.0, 4.0, 1.0, 1.0])
    queries = ([1.0] * 8, [1 / 4, 1 / 4, 1 / 4, 1 / 4, 1.0, 1.0, 1.0, 1.0])
    found = scaled(self_attn__k_proj=keys, self_attn__q_proj=queries)
    (pair,) = rescaled(found, 0, 1.5, 2)
    assert (pair.units, pair.factor) == (2, 2.0)
    assert list(rescaled(found, 0, 1.5, None)) == []  # without the size of a head nothing can be joined


def test_a_unit_of_zeros_was_not_rescaled() -> None:
    found = scaled(mlp__up_proj=([0.0, 1.0], [9.0, 1.0]), mlp__down_proj=([9.0, 1.0], [0.0, 1.0]))
    (pair,) = rescaled(found, 0, 1.5, None)
    assert (pair.units, pair.factor) == (0, 1.0)


@pytest.mark.parametrize(("name", "axis"), [("mlp.gate_proj", "rows"), ("mlp.down_proj", "columns")])
def test_strayed_units_are_found_where_they_lie_in_the_base(tmp_path: Path, name: str, axis: str) -> None:
    base = torch.from_numpy(counted(3, 40 * 30).astype(np.float32)).reshape(40, 30)
    order = list(range(40))
    order[3], order[20], order[31] = 20, 31, 3
    moved = base[order].clone()
    moved[7] *= -1000.0  # turned, and much longer: still found at its own place
    both = [base, moved] if axis == "rows" else [base.T.contiguous(), moved.T.contiguous()]
    key = f"layers__0__{name.replace('.', '__')}__weight"
    sides = [side(tmp_path, role, **{key: values}) for role, values in zip(("base", "a"), both, strict=True)]
    found = measure(sides)
    (lost,) = strayed(found, 0, 0.9)
    assert lost.lost == (3, 7, 20, 31)
    pairs = matching.matched(found, 0, lost, sides[0].folder, sides[1].folder)
    assert [(pair.unit, pair.base) for pair in pairs] == [(3, 20), (7, 7), (20, 31), (31, 3)]
    np.testing.assert_allclose([pair.cosine for pair in pairs], [1, -1, 1, 1], atol=1e-3)


def test_a_sample_of_strayed_units_is_spread_evenly(tmp_path: Path) -> None:
    base = torch.from_numpy(counted(3, 200 * 16).astype(np.float32)).reshape(200, 16)
    sides = [
        side(tmp_path, "base", a__mlp__up_proj__weight=base),
        side(tmp_path, "a", a__mlp__up_proj__weight=base.flip(0)),
    ]
    found = measure(sides)
    (lost,) = strayed(found, 0, 0.99)
    pairs = matching.matched(found, 0, lost, sides[0].folder, sides[1].folder)
    assert len(pairs) == matching.SAMPLE
    assert [pair.base for pair in pairs] == [199 - pair.unit for pair in pairs]
    assert pairs[-1].unit > 180


def test_a_matrix_without_a_known_name_has_no_units(tmp_path: Path) -> None:
    found = measure([side(tmp_path, "base", w=[[1.0]]), side(tmp_path, "a", w=[[-1.0]])])
    assert list(strayed(found, 0, 0.5)) == []
    assert all(axis in ("rows", "columns") for axis, _ in units.UNITS.values())
