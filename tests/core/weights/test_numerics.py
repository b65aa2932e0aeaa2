"""The contract's numbers, each against an independent way to the same value."""

import hashlib
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import Unmergeable
from stages.core.weights import arithmetic, masks, numerics, selection, sums
from stages.core.weights.counting import Slices
from stages.core.weights.method import Slice
from stages.core.weights.selection import kept_magnitudes
from tests.core.weights.family import counted

T = TypeVar("T")
MASK64 = (1 << 64) - 1


def test_float32_rounds_to_nearest_even() -> None:
    assert numerics.float32(1 + 2**-24) == 1.0
    assert numerics.float32(1 + 3 * 2**-24) == 1 + 2**-22
    assert numerics.float32(0.1) == float(np.float32(0.1))


def test_a_coefficient_beyond_float32_is_refused() -> None:
    with pytest.raises(Unmergeable, match=r"a coefficient of 1e\+39 is beyond float32"):
        numerics.float32(1e39)


@pytest.mark.parametrize("value", [1.0, 0.1, 2.0**-126, 2.0**-149, 3.4e38])
def test_float32_below_is_the_neighbour_towards_zero(value: float) -> None:
    single = np.float32(value)
    assert numerics.float32_below(float(single)) == float(np.nextafter(single, np.float32(0)))


def test_nothing_lies_below_zero_magnitude() -> None:
    assert numerics.float32_below(0.0) == 0.0


def test_a_mask_key_is_the_head_of_a_sha256() -> None:
    text = b"7|" + b"ab" * 32 + b"|layer.0.weight"
    assert numerics.mask_key(7, "ab" * 32, "layer.0.weight") == int.from_bytes(
        hashlib.sha256(text).digest()[:8], "little"
    )


def _splitmix64(state: int) -> int:
    word = state & MASK64
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK64
    return word ^ (word >> 31)


@pytest.mark.parametrize("start", [0, 4, 65536, 3 << 40])
def test_masks_are_the_draws_of_splitmix64_in_python_integers(start: int) -> None:
    key, drop = 0xFEDCBA9876543210, 0.3
    draws = []
    for element in range(start, start + 23):
        word = _splitmix64(key + (element // 4 + 1) * 0x9E3779B97F4A7C15)
        draws.append(word >> 16 * (element % 4) & 0xFFFF)
    expected = [float(draw >= round(0.3 * 65536)) for draw in draws]
    assert masks.kept(key, start, 23, drop).tolist() == expected


@pytest.mark.parametrize("start", [0, 1, 2, 3, 5, 255, 65537])
def test_draws_of_an_element_do_not_depend_on_where_a_slice_starts(start: int) -> None:
    whole = masks.draws(77, 0, start + 23)
    assert torch.equal(masks.draws(77, start, 23), whole[start:])
    assert torch.equal(masks.kept(77, start, 23, 0.3), (whole[start:] >= round(0.3 * 65536)).float())


def test_splitmix64_gives_the_published_first_outputs_of_seed_1234567() -> None:
    """First outputs for seed 1234567, as listed at rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64."""
    outputs = [_splitmix64(1234567 + (i + 1) * 0x9E3779B97F4A7C15) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_drop_probability_zero_keeps_every_element() -> None:
    assert masks.kept(1, 0, 100_000, 0.0).sum() == 100_000


def test_masks_drop_the_stated_share_within_five_sigma() -> None:
    kept = masks.kept(99, 0, 1_000_000, 0.25).mean().item()
    assert abs(kept - 0.75) < 5 * math.sqrt(0.25 * 0.75 / 1_000_000)


@pytest.mark.parametrize("angle", [1e-7, 1e-4, 0.01, 0.5, math.pi / 2, 2.0, 3.1])
def test_the_angle_comes_back_from_dot_products(angle: float) -> None:
    found = float(numerics.angle_rad(4.0, 2 * 3 * math.cos(angle), 9.0))
    assert found == pytest.approx(angle, abs=3e-16 / math.sin(angle))


def test_a_right_angle_is_half_of_pi_and_a_straight_one_pi() -> None:
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582")
    assert abs(numerics.angle_rad(1.0, 0.0, 1.0) - pi / 2) < Decimal("1e-27")  # pi / 2 has 28 digits here
    assert abs(numerics.angle_rad(1.0, -1.0, 1.0) - pi) < Decimal("1e-27")


def test_rounding_beyond_parallel_counts_as_an_angle_of_zero_or_pi() -> None:
    assert numerics.angle_rad(1.0, 1.0 + 2**-52, 1.0) == 0
    assert float(numerics.angle_rad(1.0, -1.0 - 2**-52, 1.0)) == math.pi


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("angle", [1e-4, 0.3, 3.0])
def test_arc_shares_are_the_ratios_of_sines(angle: float, t: float) -> None:
    shares = numerics.arc_shares(Decimal(angle), t)
    sines = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    assert shares == pytest.approx(sines, rel=1e-7)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 99, 1023, 1024, 1025, 65535, 65536])
def test_a_leaf_folds_as_its_zero_padded_tree(size: int) -> None:
    padded = np.zeros(1 << 16)
    padded[:size] = counted(3, size)
    while len(padded) > 1:
        padded = padded[: len(padded) // 2] + padded[len(padded) // 2 :]
    assert sums.fold(counted(3, size)) == padded[0]


def test_leaf_sums_are_added_to_their_neighbours_first() -> None:
    big, small = 2.0**53, 1.0
    assert sums.pairwise([big, small, small, -big]) == (big + small) + (small - big) == 1.0
    assert ((big + small) + small) - big == 0.0  # what adding from left to right would give
    assert sums.pairwise([big, small, small]) == big
    assert sums.pairwise([]) == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("place", [0, 63, 98])
def test_one_value_that_is_not_finite_is_found(bad: float, dtype: torch.dtype, place: int) -> None:
    block = torch.ones(99, dtype=dtype)
    assert arithmetic.finite(block)
    block[place] = bad
    assert not arithmetic.finite(block)


def test_rounding_up_to_infinity_is_an_overflow() -> None:
    arithmetic.narrow(torch.tensor([65519.0]), torch.float16)
    with pytest.raises(Unmergeable, match=r"beyond torch\.float16"):
        arithmetic.narrow(torch.tensor([65520.0]), torch.float16)


def _selected(x: torch.Tensor, keep: int, block: int) -> torch.Tensor:
    def each(function: Callable[[Slice], T], stride: int = 1) -> Iterator[T]:
        return (function(Slice([x[i : i + block : stride]], [], i)) for i in range(0, x.numel(), block))

    ((threshold, cut),) = kept_magnitudes(Slices(each), [keep], x.numel())
    index = torch.arange(x.numel())
    return (x.abs() > threshold) | ((x.abs() == threshold) & (index < cut))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=60),
    st.data(),
    st.sampled_from([0.5, 1e-40, 1e30, 1.1]),
)
def test_selection_is_that_of_a_stable_sort(units: list[int], data: st.DataObject, scale: float) -> None:
    x = torch.tensor(units, dtype=torch.float32) * scale
    keep = data.draw(st.integers(1, len(units)))
    order = np.argsort(-x.abs().numpy(), kind="stable")[:keep]
    for block in (1, 7, 64):
        assert _selected(x, keep, block).nonzero().flatten().tolist() == sorted(order.tolist())


@pytest.mark.parametrize("keep", [1, 4_000, 6_250, 50_000, 99_999, 100_000])
@pytest.mark.parametrize("sampled", [0.0, 1e30])
def test_selection_is_exact_when_the_sample_misleads(keep: int, sampled: float) -> None:
    """One element in sixteen is sampled: here those alone are zero, or huge."""
    x = torch.from_numpy(counted(11, 100_000).astype(np.float32))
    x[:: selection.STRIDE] = sampled
    order = np.argsort(-x.abs().numpy(), kind="stable")[:keep]
    assert _selected(x, keep, 1 << 14).nonzero().flatten().tolist() == sorted(order.tolist())


@pytest.mark.parametrize("keep", [1, 4_000, 50_000, 100_000])
def test_selection_is_exact_when_a_bracket_holds_too_many(keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "COLLECTED", 10)
    x = torch.from_numpy(np.round(counted(11, 100_000) * 20).astype(np.float32))
    order = np.argsort(-x.abs().numpy(), kind="stable")[:keep]
    assert _selected(x, keep, 1 << 14).nonzero().flatten().tolist() == sorted(order.tolist())


@pytest.mark.parametrize("keep", [1, 2, 1000, 49_999, 99_998, 100_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_selection_is_exact_on_many_elements(keep: int, dtype: torch.dtype) -> None:
    x = torch.from_numpy(counted(11, 100_000).astype(np.float32)).to(dtype).float()
    order = np.argsort(-x.abs().numpy(), kind="stable")[:keep]
    assert _selected(x, keep, 1 << 14).nonzero().flatten().tolist() == sorted(order.tolist())
