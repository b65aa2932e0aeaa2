"""The traps of the methods beyond the first six, on tensors worked out by hand."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from stages.core.errors import Unmergeable
from stages.core.weights import registry
from stages.core.weights.backend import Block
from stages.core.weights.engine import whole_rows
from stages.core.weights.method import Slice, gram
from stages.core.weights.methods import della, greedy_soup, karcher, model_stock
from tests.core.weights.test_methods import apply, numbers, some


def settled(name: str, dots: tuple[float, ...], parents: int, **given: Any) -> tuple[Any, Any]:
    """What a method makes of dot products: final numbers and the note."""
    method = registry.get(name)
    options = registry.resolve(name, given, parents)
    return method.settle(method.coefficients(options), {"dots": dots})


def test_gram_puts_the_upper_triangle_on_both_sides() -> None:
    assert gram((1, 2, 3, 4, 5, 6), 3) == [[1, 2, 3], [2, 4, 5], [3, 5, 6]]
    assert gram((7,), 1) == [[7]]


def test_task_slerp_halfway_between_orthogonal_deltas_bisects_them_times_the_scale() -> None:
    merged = apply("task_slerp", [numbers(1, 0), numbers(0, 1)], scale=2.0)
    assert merged.tolist() == pytest.approx([2 * 0.5**0.5] * 2, rel=1e-7)


def test_task_slerp_takes_the_share_of_the_one_delta_that_is_not_zero() -> None:
    merged = apply("task_slerp", [numbers(0, 0), numbers(4, -8)], t=0.25)
    assert merged.tolist() == [1, -2]
    assert settled("task_slerp", (0.0, 0.0, 9.0), 2)[1] == {"branch": "chord", "zero": "first"}


def test_task_slerp_refuses_opposite_deltas_unless_the_chord_is_asked_for() -> None:
    deltas = [numbers(4.0), numbers(-4.0)]
    with pytest.raises(Unmergeable, match=r"opposite directions.*Set opposite: chord"):
        apply("task_slerp", deltas)
    assert apply("task_slerp", deltas, opposite="chord", t=0.25).tolist() == [2.0]


def test_karcher_of_three_axes_is_their_diagonal_at_the_mean_length() -> None:
    merged = apply("karcher", [numbers(1, 0, 0), numbers(0, 2, 0), numbers(0, 0, 3)])
    assert merged.tolist() == pytest.approx([2 / math.sqrt(3)] * 3, rel=1e-6)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_karcher_of_two_equally_long_vectors_is_the_point_on_their_arc(t: float) -> None:
    a, b = numbers(3, 4, 0), numbers(0, 4, 3)
    merged = apply("karcher", [a, b], weights=(1 - t, t))
    assert torch.allclose(merged, apply("slerp", [a, b], t=t), rtol=1e-6, atol=1e-7)


def test_karcher_notes_its_iterations_and_its_last_step() -> None:
    _, note = settled("karcher", (1.0, 0.5, 1.0), 2, weights=[1.0, 3.0])
    assert 1 < note["iterations"] < 40
    assert float.fromhex(note["step_rad"]) < 1e-9


def test_karcher_that_does_not_settle_is_an_error_and_no_result() -> None:
    with pytest.raises(Unmergeable, match=r"still moves by .* rad after 1 iterations\. Raise iterations"):
        settled("karcher", (1.0, 0.1, 1.0), 2, weights=[1.0, 3.0], iterations=1)


@pytest.mark.parametrize(
    ("dots", "problem"),
    [
        ((1.0, -1.0, 1.0), "directions cancel"),
        ((1.0, 0.0, 0.0), "some parents are all zeros"),
    ],
)
def test_karcher_refuses_what_has_no_mean_direction(dots: tuple[float, ...], problem: str) -> None:
    with pytest.raises(Unmergeable, match=problem):
        settled("karcher", dots, 2)
    with pytest.raises(Unmergeable, match="points away"):
        settled("karcher", (1.0, -1.0, 1.0), 2, weights=[1.0, 0.5])


def test_karcher_of_parents_whose_rounded_dots_exceed_their_norms_still_ends() -> None:
    over = 1.0 + 2**-52
    shares, _ = settled("karcher", (1.0, over, over, 1.0, over, 1.0), 3)
    assert sum(shares["shares"]) == pytest.approx(1.0, abs=1e-6)


def test_karcher_takes_the_tangent_where_the_angle_is_too_small_for_a_cosine() -> None:
    assert karcher._stretch(Decimal(1)) == 1
    assert float(karcher._stretch(Decimal(0))) == pytest.approx(math.pi / 2, rel=1e-15)


def test_model_stock_by_hand() -> None:
    """cos = 0.5 for two: t = 2 * 0.5 / 1.5 = 2/3, a third for each."""
    _, note = settled("model_stock", (1.0, 0.5, 1.0), 2)
    assert float.fromhex(note["t"]) == pytest.approx(2 / 3)
    assert apply("model_stock", [numbers(1, 0), numbers(0.5, math.sqrt(0.75))])[0].item() == pytest.approx(
        0.5
    )


def test_model_stock_of_orthogonal_deltas_is_the_base_and_of_equal_ones_their_mean() -> None:
    assert apply("model_stock", [numbers(1, 0), numbers(0, 1)]).tolist() == [0, 0]
    torch.testing.assert_close(apply("model_stock", [some(1)] * 3), some(1), rtol=2**-22, atol=0)


def test_model_stock_of_obtuse_deltas_is_the_base_and_says_so() -> None:
    shares, note = model_stock.settle({}, {"dots": (1.0, -0.9, 1.0)})
    assert shares["shares"] == (0.0, 0.0)
    assert note["branch"] == "obtuse"


def test_model_stock_follows_the_formula_below_zero_if_asked() -> None:
    """cos = -0.5 for two: t = 2 * -0.5 / 0.5 = -2, a share of -1 for each. At -1 there is no t."""
    shares, note = model_stock.settle({"obtuse": "formula"}, {"dots": (1.0, -0.5, 1.0)})
    assert (shares["shares"], float.fromhex(note["t"])) == ((-1.0, -1.0), -2.0)
    with pytest.raises(Unmergeable, match=r"cosine is -1, where the formula has no value"):
        model_stock.settle({"obtuse": "formula"}, {"dots": (1.0, -1.0, 1.0)})


def test_a_late_parameter_enters_the_recipe_only_if_it_is_not_at_its_default() -> None:
    assert registry.resolve("model_stock", {}, 2) == {}
    assert registry.resolve("model_stock", {"obtuse": "base"}, 2) == {}
    assert registry.resolve("model_stock", {"obtuse": "formula"}, 2) == {"obtuse": "formula"}


def test_model_stock_counts_a_zero_delta_as_orthogonal() -> None:
    assert model_stock.settle({}, {"dots": (0.0, 0.0, 1.0)})[0]["shares"] == (0.0, 0.0)


def test_a_greedy_selection_keeps_what_does_not_lower_the_score() -> None:
    """Alone 0.75 leads; 2 helps, 0 hurts, and 3, which changes nothing, stays."""
    soups = {(1, 2): 0.8, (0, 1, 2): 0.7, (1, 2, 3): 0.8}
    steps = greedy_soup.select([0.5, 0.75, 0.6, 0.4], soups.__getitem__)
    assert [(step.ingredient, step.score) for step in steps] == [(1, 0.75), (2, 0.8), (0, 0.7), (3, 0.8)]
    assert greedy_soup.kept(steps) == (0.0, 1.0, 1.0, 1.0)


def test_a_greedy_selection_is_never_below_the_best_single_ingredient() -> None:
    scores = [0.3, 0.9, 0.5]
    steps = greedy_soup.select(scores, lambda kept: 0.1 * len(kept))
    assert greedy_soup.kept(steps) == (0.0, 1.0, 0.0)


def test_the_recipe_of_a_soup_keeps_zeros_and_ones_and_the_best() -> None:
    assert registry.problems("greedy_soup", {"kept": [0.5, 1]}, 2) == [
        "greedy_soup.kept: expected 0 or 1 for each parent, got [0.5, 1.0]"
    ]
    found = registry.problems("greedy_soup", {"kept": [1, 0], "scores": [0.1, 0.2]}, 2)
    assert found == ["greedy_soup.kept: the ingredient with the best score, 0.2, is always kept"]
    assert registry.problems("greedy_soup", {"kept": [0, 0]}, 2) != []


def test_a_soup_of_one_is_that_ingredient_bit_for_bit() -> None:
    lonely = numbers(-0.0, 1e-45, 3.0)
    merged = apply("greedy_soup", [some(1, 3), lonely], kept=(0.0, 1.0), scores=(0.0, 1.0))
    assert torch.equal(merged.view(torch.int32), lonely.view(torch.int32))


def test_breadcrumbs_by_hand() -> None:
    """Ten entries, gamma 0.1 drops the 9, density 0.3 keeps 8, 7 and the first of the sixes."""
    delta = numbers(1, 6, -9, 2, 6, 8, -7, 3, 0, 4)
    merged = apply("breadcrumbs", [delta, torch.zeros(10)], gamma=0.1, density=0.3, scale=1.0)
    assert merged.tolist() == [0, 6, 0, 0, 0, 8, -7, 0, 0, 0]


@pytest.mark.parametrize("size", [1, 2, 9, 99])
def test_breadcrumbs_drop_nothing_on_top_of_tensors_under_one_over_gamma(size: int) -> None:
    delta = some(3, size)
    merged = apply("breadcrumbs", [delta, torch.zeros(size)], gamma=0.01, density=0.99, scale=1.0)
    assert merged[delta.abs().argmax()] == delta[delta.abs().argmax()]
    assert int((merged != 0).sum()) == max(1, int(0.99 * size))


def test_breadcrumbs_cut_equal_magnitudes_by_index_on_both_ends() -> None:
    delta = torch.full((8,), 2.0)
    merged = apply("breadcrumbs", [delta, torch.zeros(8)], gamma=0.25, density=0.5, scale=1.0)
    assert merged.tolist() == [0, 0, 2, 2, 2, 2, 0, 0]


def test_breadcrumbs_refuse_to_keep_and_drop_more_than_there_is() -> None:
    (found,) = registry.problems("breadcrumbs", {"density": 0.95, "gamma": 0.1}, 2)
    assert found == "breadcrumbs.density: 0.95 kept and gamma 0.1 dropped on top are more than 1"


def pruned(delta: torch.Tensor, draw: float, row: int, **given: Any) -> list[float]:
    """della's pruning with one draw for all entries."""
    options = registry.resolve("della", given, 2)
    return della.all_pruned(Slice([delta] * 2, [], 0, [torch.full_like(delta, draw)] * 2, row), options, {})[
        0
    ].tolist()


def test_della_keeps_the_greater_of_a_row_with_the_greater_probability() -> None:
    """Ranks 2, 0, 1 of three: kept with 3/4, 1/4, 1/2, so a draw of 32768 of 65536 keeps two of them."""
    delta = numbers(3, -1, 2)
    options = {"density": 0.5, "epsilon": 0.25, "rescale": "none"}
    assert pruned(delta, 16383, 3, **options) == [0, 0, 0]
    assert pruned(delta, 16384, 3, **options) == [3, 0, 0]
    assert pruned(delta, 32768, 3, **options) == [3, 0, 2]
    assert pruned(delta, 49152, 3, **options) == [3, -1, 2]


def test_della_divides_each_entry_by_its_own_probability() -> None:
    assert pruned(numbers(3, -1, 2), 65535, 3, density=0.5, epsilon=0.25) == [4, -4, 4]


def test_della_ranks_within_rows_and_equals_by_index() -> None:
    options = {"density": 0.5, "epsilon": 0.25, "rescale": "none"}
    assert pruned(numbers(1, 2, 20, 10, 5, -5), 16384, 2, **options) == [0, 2, 20, 0, 0, -5]


def test_della_keeps_an_entry_alone_in_its_row_with_the_density() -> None:
    options = {"density": 0.5, "epsilon": 0.25, "rescale": "none"}
    assert pruned(numbers(1, 2), 32767, 1, **options) == [0, 0]
    assert pruned(numbers(1, 2), 32768, 1, **options) == [1, 2]


@pytest.mark.parametrize("density", [0.2, 0.9])
def test_della_refuses_probabilities_outside_zero_to_one(density: float) -> None:
    assert registry.problems("della", {"density": density, "epsilon": 0.2}, 2) == [
        f"della.epsilon: {density:g} +- 0.2 must lie above 0 and not above 1"
    ]


@pytest.mark.parametrize("row", [1, 3, 7, 64, 200, 1000])
@pytest.mark.parametrize("block", [64, 100])
def test_blocks_are_cut_anew_at_rows_and_nothing_is_lost(row: int, block: int) -> None:
    """Rows of two inputs, one of four bytes an element and one of two."""
    x, y = np.arange(row * 11, dtype=np.int32), np.arange(row * 11, dtype=np.int16)[::-1].copy()
    blocks = [
        Block(start, [each[start : start + block].view(np.uint8) for each in (x, y)])
        for start in range(0, len(x), block)
    ]
    found = list(whole_rows(blocks, row, [4, 2]))
    firsts, seconds = ([part.rows[place] for part in found] for place in (0, 1))
    assert all(part.start % row == 0 and len(part.rows[0]) % (4 * row) == 0 for part in found)
    assert [part.start for part in found] == [int(first.view(np.int32)[0]) for first in firsts]
    assert np.array_equal(np.concatenate(firsts).view(np.int32), x)
    assert np.array_equal(np.concatenate(seconds).view(np.int16), y)
    assert max(len(first) // 4 for first in firsts) < block + row


def test_consensus_keeps_what_two_tasks_need_and_drops_what_one_does() -> None:
    """Entry 0: both 1 of 2, active at 0.5. Entry 1: 4 stands out, 1 does not against it. Entry 2: no move."""
    deltas = [numbers(1, 4, 0), numbers(1, 1, 0)]
    assert apply("consensus", deltas, thresholds=(0.5, 0.5), scale=1.0).tolist() == [2, 0, 0]
    assert apply("consensus", deltas, thresholds=(0.5, 0.5), scale=1.0, active_in=1.0).tolist() == [2, 5, 0]


def test_consensus_without_thresholds_is_task_arithmetic() -> None:
    deltas, options = [some(1), some(2)], {"weights": (0.5, 2.0), "scale": 0.5}
    assert torch.equal(
        apply("consensus", deltas, thresholds=(0.0, 0.0), **options),
        apply("task_arithmetic", deltas, **options),
    )


def test_consensus_counts_whole_tasks_and_no_more_than_there_are() -> None:
    for wrong in (1.5, 3.0):
        (found,) = registry.problems("consensus", {"active_in": wrong}, 2)
        assert found == f"consensus.active_in: expected a whole number from 1 to 2, got {wrong:g}"


def test_sce_by_hand() -> None:
    """Spread picks entries 1 and 3. Squares there: 25 to 20; entry 3 elects minus, which only b has."""
    a, b = numbers(1, 3, 1, 4), numbers(1, -0.5, 1, -5)
    merged = apply("sce", [a, b], density=0.5)
    assert merged.tolist() == [0, 3, 0, -5]


def test_sce_weighs_parents_by_the_squares_of_what_was_selected() -> None:
    """Everything selected: squares 16 to 4, so 4/5 and 1/5 where both agree."""
    merged = apply("sce", [numbers(4, 0), numbers(2, 0)], density=1.0)
    assert merged.tolist() == pytest.approx([4 * 0.8 + 2 * 0.2, 0])


def test_sce_tells_deltas_apart_whose_squares_float32_cannot_hold() -> None:
    small = 2.0**-100
    a, b = numbers(small, 2 * small, small), numbers(small, -2 * small, small)
    assert int((apply("sce", [a, b], density=0.34) != 0).sum()) == 1


def test_sce_of_equal_parents_still_selects_by_index() -> None:
    merged = apply("sce", [numbers(1, 2, 3, 4)] * 2, density=0.5)
    assert merged.tolist() == [1, 2, 0, 0]


def test_a_slice_by_default_has_no_draws_and_rows_of_one() -> None:
    plain = Slice([some(1)], [], 0)
    assert (plain.draws, plain.row) == ((), 1)
