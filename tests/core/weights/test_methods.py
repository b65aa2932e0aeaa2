"""Methods on tensors worked out by hand, and the properties that hold for all tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.core.weights import registry
from stages.core.weights.method import WHOLE, Method, Slice
from stages.core.weights.methods.ties import trimmed
from stages.core.weights.plain import measure
from stages.core.weights.statistics import kept_count
from tests.core.weights.family import counted

ALL = list(registry.BY_NAME)
DELTA = [name for name in ALL if registry.BY_NAME[name].space == "delta"]
WEIGHTED = [
    name for name in ALL if "weights" in {parameter.name for parameter in registry.BY_NAME[name].parameters}
]
MANY = [name for name in ALL if registry.BY_NAME[name].parents[1] >= 16]


def apply(
    name: str, tensors: Sequence[Tensor], masks: Sequence[Tensor] = (), /, *, row: int = 0, **given: Any
) -> Tensor:
    """The method's block over whole tensors: weights, or deltas for a delta method; k = 1 is allowed.

    row: length of a row for methods by rows; 0 takes the tensor as one row. Draws are counted numbers.
    """
    method = registry.get(name)
    options = {p.name: p.default for p in method.parameters} | given
    for parameter in method.parameters:
        if parameter.kind == "per_parent" and not isinstance(options[parameter.name], tuple):
            options[parameter.name] = (options[parameter.name],) * len(tensors)
    ones = [torch.ones_like(tensors[0])] * len(tensors) if method.mask else ()
    drawn = [some(71 + i, tensors[0].numel()).add(1).mul(32768).floor() for i in range(len(tensors))]
    whole = Slice(tensors, masks or ones, 0, drawn if method.draws else (), row or tensors[0].numel())
    seen = gathered(method, options, whole)
    coefficients = method.coefficients(options)
    if method.whole is not None:
        coefficients = {**coefficients, WHOLE: method.whole(options, "w", tensors[0].shape)}
    settled, _ = method.settle(coefficients, seen)
    merged = method.block(whole, settled, seen)
    assert isinstance(merged, Tensor), "a vector is never given whole"
    return merged


def gathered(method: Method, options: dict[str, Any], whole: Slice) -> dict[str, tuple[float, ...]]:
    """Every statistic that the method needs of a tensor given as one slice."""
    each = lambda function, stride=1: iter([function(whole)])  # noqa: E731 - generic, so not annotated
    size = {"parents": len(whole.tensors), "elements": whole.tensors[0].numel()}
    seen: dict[str, tuple[float, ...]] = {}
    for need in method.needed(options):
        found = measure(need, options, each, **size, seen=dict(seen))
        seen |= {need.label + key: values for key, values in found.items()}
    return seen


def numbers(*values: float) -> Tensor:
    """float32 vector."""
    return torch.tensor(values, dtype=torch.float32)


def some(seed: int, count: int = 501) -> Tensor:
    """float32 vector of counted numbers."""
    return torch.from_numpy(counted(seed, count).astype(np.float32))


def test_slerp_halfway_between_orthogonal_units_bisects_the_right_angle() -> None:
    merged = apply("slerp", [numbers(1, 0), numbers(0, 1)])
    assert merged.tolist() == pytest.approx([0.5**0.5] * 2, rel=1e-7)


def test_slerp_keeps_the_norm_of_equally_long_vectors_where_the_chord_shortens_it() -> None:
    a, b = numbers(3, 4, 0), numbers(0, 4, 3)
    assert apply("slerp", [a, b], t=0.3).double().norm().item() == pytest.approx(5.0, rel=1e-6)
    assert apply("linear", [a, b], weights=(0.7, 0.3)).double().norm().item() < 4.7


def test_ties_by_hand() -> None:
    """Density 0.5 of 4 keeps two each. Entry 0: -3 outvotes 2. Entry 1: trimmed in b. Entry 3: both agree."""
    a, b = numbers(2, 1, 0.1, -0.2), numbers(-3, 0.1, 0.2, -4)
    assert apply("ties", [a, b], density=0.5).tolist() == [-3, 1, 0, -4]
    assert apply("ties", [a, b], density=1.0, scale=2.0).tolist() == pytest.approx([-6, 1.1, 0.3, -4.2])


def test_ties_elections_differ() -> None:
    """5 stands against -3 and -1: halved it loses the weighted sum, whole it wins the sum."""
    deltas = [numbers(5.0), numbers(-3.0), numbers(-1.0)]
    options = {"density": 1.0, "weights": (0.5, 1.0, 1.0)}
    assert apply("ties", deltas, election="sum_weighted", **options).tolist() == [-2.0]  # 2.5 - 4 < 0
    assert apply("ties", deltas, election="sum", **options).tolist() == [5.0]  # 5 - 4 > 0
    assert apply("ties", deltas, election="count", **options).tolist() == [-2.0]  # 1 - 2 < 0


def test_ties_divisors_differ() -> None:
    deltas, options = [numbers(2.0), numbers(4.0)], {"density": 1.0, "weights": (1.0, 0.5)}
    assert apply("ties", deltas, divisor="surviving_weights", **options).tolist() == [pytest.approx(8 / 3)]
    assert apply("ties", deltas, divisor="count", **options).tolist() == [2.0]


@pytest.mark.parametrize("election", ["sum_weighted", "sum", "count"])
def test_a_vote_of_zero_elects_plus(election: str) -> None:
    merged = apply("ties", [numbers(-2.0), numbers(2.0)], density=1.0, election=election)
    assert merged.tolist() == [2.0]


def test_a_vote_of_zero_still_elects_plus_when_dare_rescales() -> None:
    """-3 + 1 + 2 is zero; thrice a rounded multiple of it would not be."""
    deltas = [numbers(-3.0), numbers(1.0), numbers(2.0)]
    assert apply("dare_ties", deltas, drop=0.3).tolist() == [pytest.approx(1.5 / 0.7, rel=1e-5)]


@pytest.mark.parametrize(
    ("density", "elements", "keep"), [(0.2, 10, 2), (0.2, 4, 1), (0.0, 5, 1), (1.0, 7, 7), (0.5, 1, 1)]
)
def test_a_density_keeps_its_share_rounded_down_and_at_least_one(
    density: float, elements: int, keep: int
) -> None:
    assert kept_count(density, elements) == keep
    delta = some(4, elements)
    merged = apply("ties", [delta, torch.zeros(elements)], density=density)
    assert int((merged != 0).sum()) == keep


def test_the_lowest_index_stays_among_equal_magnitudes() -> None:
    delta = numbers(1, -2, 2, 1, -2, 1)
    assert apply("ties", [delta, delta], density=0.34).tolist() == [0, -2, 2, 0, 0, 0]
    assert apply("ties", [delta, delta], density=0.67).tolist() == [1, -2, 2, 0, -2, 0]


@pytest.mark.parametrize("cut", [-3, 0, 1, 2, 5])
def test_trimming_splits_a_block_at_the_cut(cut: int) -> None:
    expected = [2.0 if place < cut else 0.0 for place in range(4)]
    assert trimmed(numbers(2, 2, 2, 2), 2.0, cut).tolist() == expected


def test_dare_divides_the_kept_by_the_share_that_the_draws_can_give() -> None:
    """0.3 is drawn as 19661/65536, so the factor is 65536/45875."""
    kept = [numbers(1, 0), numbers(0, 1)]
    merged = apply("dare_linear", [numbers(1, 1), numbers(1, 1)], kept, drop=0.3, scale=1.0)
    assert merged.tolist() == [float(np.float32(65536 / 45875))] * 2


def test_dare_l1_restores_the_norm_of_each_delta() -> None:
    deltas, kept = [some(1), some(2)], [(some(3) > 0).float(), (some(4) > 0).float()]
    merged = apply("dare_linear", deltas, kept, rescale="l1", weights=(1.0, 0.0), scale=1.0)
    assert merged.abs().double().sum().item() == pytest.approx(
        deltas[0].abs().double().sum().item(), rel=1e-6
    )


@settings(max_examples=30, deadline=None)
@given(
    st.permutations([0, 1, 2]), st.sampled_from([name for name in WEIGHTED if not name.startswith("della")])
)
def test_the_order_of_parents_changes_rounding_alone(order: list[int], name: str) -> None:
    tensors, weights = [some(1), some(2), some(3)], (0.5, 1.0, 0.7)
    kept = [(some(5 + place) > 0).float() for place in range(3)] if name.startswith("dare") else []
    straight = apply(name, tensors, kept, weights=weights)
    shuffled = apply(
        name,
        [tensors[place] for place in order],
        [kept[place] for place in order] if kept else [],
        weights=tuple(weights[place] for place in order),
    )
    torch.testing.assert_close(shuffled, straight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("task_arithmetic", {"scale": 1.0}),
        ("ties", {"density": 1.0}),
        ("dare_linear", {"drop": 0.0, "scale": 1.0}),
        ("breadcrumbs", {"density": 1.0, "gamma": 0.0, "scale": 1.0}),
        ("della", {"density": 1.0, "epsilon": 0.0}),
        ("della_linear", {"density": 1.0, "epsilon": 0.0, "scale": 1.0}),
        ("consensus", {"active_in": 1.0, "scale": 1.0}),
        ("greedy_soup", {}),
    ],
)
def test_one_parent_alone_comes_back(name: str, options: dict[str, Any]) -> None:
    assert torch.equal(apply(name, [some(1)], **options), some(1))


def test_equal_parents_are_a_fixed_point_of_convex_methods() -> None:
    for name in ("linear", "slerp", "karcher", "greedy_soup", "task_slerp", "model_stock"):
        torch.testing.assert_close(apply(name, [some(1), some(1)]), some(1), rtol=2**-23, atol=0)


def test_equal_parents_are_no_fixed_point_of_ties_or_dare() -> None:
    half = (some(9) > 0).float()
    assert not torch.equal(apply("ties", [some(1), some(1)], density=0.2), some(1))
    assert not torch.equal(apply("dare_linear", [some(1), some(1)], [half, half], scale=0.5), some(1))


@pytest.mark.parametrize(("dare", "plain"), [("dare_linear", "task_arithmetic")])
def test_dare_that_drops_nothing_is_task_arithmetic(dare: str, plain: str) -> None:
    deltas, options = [some(1), some(2)], {"weights": (0.3, 0.9), "scale": 0.7}
    assert torch.equal(apply(dare, deltas, drop=0.0, **options), apply(plain, deltas, **options))


def test_dare_ties_that_drops_nothing_is_ties_that_trims_nothing() -> None:
    deltas, options = [some(1), some(2)], {"weights": (0.3, 0.9), "scale": 0.7}
    assert torch.equal(
        apply("dare_ties", deltas, drop=0.0, **options), apply("ties", deltas, density=1.0, **options)
    )


@pytest.mark.parametrize("name", DELTA)
@pytest.mark.parametrize("factor", [4.0, 2.0**-20])
def test_delta_methods_scale_with_the_deltas(name: str, factor: float) -> None:
    kept = [(some(5) > 0).float(), (some(6) > 0).float()] if name.startswith("dare") else []
    small = apply(name, [some(1), some(2)], kept)
    assert torch.equal(apply(name, [some(1) * factor, some(2) * factor], kept), small * factor)


@pytest.mark.parametrize("name", ALL)
def test_a_block_function_leaves_its_tensors_alone(name: str) -> None:
    tensors, kept = [some(1), some(2)], [(some(3) > 0).float(), (some(4) > 0).float()]
    apply(name, tensors, kept)
    assert torch.equal(tensors[0], some(1))
    assert torch.equal(tensors[1], some(2))
    assert torch.equal(kept[0], (some(3) > 0).float())


@pytest.mark.parametrize("name", MANY)
def test_sixteen_parents_merge(name: str) -> None:
    assert apply(name, [some(place) for place in range(16)]).shape == (501,)


def test_ties_undivided_adds_up_what_agrees() -> None:
    """Entry 0: 0.5 * 2 + 0.25 * 4 = 2, where the mean is 2 / 0.75. Entry 1: -3 loses against 0.5 * 8 = 4."""
    a, b = numbers(2, 8), numbers(4, -12)
    options = {"density": 1.0, "weights": (0.5, 0.25), "divisor": "none"}
    assert apply("ties", [a, b], **options).tolist() == [2.0, 4.0]
    assert apply("ties", [a, b], scale=-3.0, **options).tolist() == [-6.0, -12.0]


def test_ties_trims_each_parent_by_its_own_density() -> None:
    """A quarter of four keeps the 4 of the first; three quarters keep 8, 6 and -5 of the second."""
    a, b = numbers(4, 3, 2, 1), numbers(0.5, 8, 6, -5)
    assert apply("ties", [a, b], density=(0.25, 0.75)).tolist() == [4, 8, 6, -5]


def test_dare_without_rescaling_leaves_what_is_kept_as_it_is() -> None:
    a, b = numbers(4, -8), numbers(2, 2)
    masks = [numbers(1, 0), numbers(1, 1)]
    assert apply("dare_linear", [a, b], masks, drop=0.5, rescale="none", scale=1.0).tolist() == [6, 2]
    assert apply("dare_linear", [a, b], masks, drop=0.5, rescale="paper", scale=1.0).tolist() == [12, 4]


def test_dare_rescales_each_parent_by_its_own_drop() -> None:
    """Kept with 1/2 and 1/4: entry 0 is 2 * 4 + 4 * 2; elected apart, they are averaged."""
    a, b = numbers(4, -8), numbers(2, 2)
    masks = [numbers(1, 0), numbers(1, 1)]
    assert apply("dare_linear", [a, b], masks, drop=(0.5, 0.75), scale=1.0).tolist() == [16, 8]
    assert apply("dare_ties", [a, b], masks, drop=(0.5, 0.75)).tolist() == [8, 8]


def test_della_restores_the_norm_of_each_task_vector() -> None:
    """The draws keep the two greatest of each row of four, 7 of 10 in magnitude: a factor of 10 / 7."""
    method = registry.get("della_linear")
    options = registry.resolve("della_linear", {"rescale": "l1", "scale": 1.0, "epsilon": 0.3}, 2)
    deltas = [numbers(1, -2, 3, -4), numbers(4, 3, 2, 1)]
    whole = Slice(deltas, (), 0, [numbers(*[32768] * 4)] * 2, 4)
    seen = gathered(method, options, whole)
    settled, note = method.settle(method.coefficients(options), seen)
    assert note == {"rescale": [(10 / 7).hex()] * 2}
    assert method.block(whole, settled, seen).tolist() == pytest.approx([40 / 7, 30 / 7, 30 / 7, -40 / 7])
