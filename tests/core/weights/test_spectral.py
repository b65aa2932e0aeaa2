"""tsv_m, iso_c and iso_cts on matrices worked out by hand, and the edges of the decomposition."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.core.errors import BadRequest, Unmergeable
from stages.core.weights import engine, header, plan, registry, spectra
from stages.core.weights.method import WHOLE, Slice
from stages.core.weights.methods import iso, matrices
from tests.core.weights.family import LABELS, Family, counted, planned, recipe, values
from tests.reference import spectral as reference

METHODS = ("tsv_m", "iso_c", "iso_cts")


def merged(name: str, deltas: Sequence[Any], **given: Any) -> tuple[Tensor, Any]:
    """The merged delta of one matrix, and its note without the library."""
    tensors = [torch.as_tensor(delta, dtype=torch.float32) for delta in deltas]
    shape = tuple(tensors[0].shape)
    method = registry.get(name)
    options = registry.resolve(name, given, len(tensors))
    settled = {**method.coefficients(options), WHOLE: True}
    found = method.block(Slice([tensor.flatten() for tensor in tensors], (), 0, shape=shape), settled, {})
    assert isinstance(found, tuple)
    result, note = found
    assert isinstance(note, dict)
    assert result.dtype == torch.float32
    return result.reshape(shape), {key: value for key, value in note.items() if key != "lapack"}


def some(seed: int, *shape: int) -> Tensor:
    """float32 matrix of counted numbers."""
    return torch.from_numpy(counted(seed, math.prod(shape)).astype(np.float32).reshape(shape))


def close(got: Tensor, want: Any) -> bool:
    """Whether equal to a few units in the last place of float32 of the greatest element."""
    wanted = torch.as_tensor(np.asarray(want), dtype=torch.float64)
    return bool((got.double() - wanted).abs().max() <= 4 * 2**-23 * max(1e-30, float(wanted.abs().max())))


def test_tsv_m_keeps_one_of_two_directions_of_each_of_two_parents() -> None:
    """diag(3, 1) gives e1 with 3, diag(0, 2) gives e2 with 2: orthogonal, so they stay as they are."""
    found, note = merged("tsv_m", [[[3, 0], [0, 1]], [[0, 0], [0, 2]]])
    assert close(found, [[3, 0], [0, 2]])
    assert note == {"branch": "matrix", "kept": [1, 1], "dependent": [0, 0]}


def test_tsv_m_turns_oblique_directions_until_they_are_orthogonal() -> None:
    """Rows: e1 with 5, and (3 e1 + 4 e2) / 5 with 5. Right vectors at 53.13 degrees, cosine 0.6, are spread
    evenly to 90: their bisector is b = (2 e1 + e2) / sqrt 5, so they become b turned by -45 and by 45.
    Left vectors are e1 and e2."""
    found, _ = merged("tsv_m", [[[5, 0], [0, 0]], [[0, 0], [3, 4]]])
    first, second = np.array([3, -1]) / math.sqrt(10), np.array([1, 3]) / math.sqrt(10)
    assert close(found, [5 * first, 5 * second])


def test_tsv_m_of_equal_parents_is_their_own_leading_part() -> None:
    found, note = merged("tsv_m", [[[3, 0], [0, 1]]] * 2)
    assert close(found, [[3, 0], [0, 0]])
    assert note["dependent"] == [1, 1]


def test_tsv_m_multiplies_singular_values_by_weights_and_the_whole_by_the_scale() -> None:
    found, _ = merged("tsv_m", [[[3, 0], [0, 1]], [[0, 0], [0, 2]]], weights=[2.0, -0.5], scale=0.5)
    assert close(found, [[3, 0], [0, -0.5]])


def test_tsv_m_keeps_one_direction_of_a_row_although_there_are_two_parents() -> None:
    """[4, 0, 0] and [0, 0, 1] share the left vector [1]: whitened, each has 1 / sqrt 2 of it."""
    found, note = merged("tsv_m", [[[4, 0, 0]], [[0, 0, 1]]])
    assert close(found, [[4 / math.sqrt(2), 0, 1 / math.sqrt(2)]])
    assert note == {"branch": "matrix", "kept": [1, 1], "dependent": [0, 0], "least_one": True}


def test_iso_c_gives_every_direction_the_mean_singular_value_of_the_sum() -> None:
    """The sum is diag(4, -2): values 4 and 2, mean 3, and the signs stay."""
    found, note = merged("iso_c", [[[4, 0], [0, 1]], [[0, 0], [0, -3]]])
    assert close(found, [[3, 0], [0, -3]])
    assert note == {"branch": "matrix", "rank": 2}


def test_iso_c_sums_weighted_task_vectors_and_scales_the_result() -> None:
    """2 diag(4, 1) - diag(0, -2) = diag(8, 4), mean 6, times 0.5."""
    found, _ = merged("iso_c", [[[4, 0], [0, 1]], [[0, 0], [0, -2]]], weights=[2.0, -1.0], scale=0.5)
    assert close(found, [[3, 0], [0, 3]])


def test_iso_c_leaves_zeros_of_a_low_rank_sum_out_unless_all_are_asked_for() -> None:
    """diag(4, 0): of one non-zero value the mean is 4; of both it is 2, and an arbitrary direction gets 2."""
    deltas = [[[3, 0], [0, 0]], [[1, 0], [0, 0]]]
    assert close(merged("iso_c", deltas)[0], [[4, 0], [0, 0]])
    assert close(merged("iso_c", deltas, spectrum="all")[0].abs(), [[2, 0], [0, 2]])


def test_iso_cts_takes_half_of_its_directions_from_the_sum_and_the_rest_from_the_tasks() -> None:
    """Four rows, two parents, half common: 2 of diag(9, 5, 3, 1) from the sum, then one of each parent.

    Outside of e1 and e2 the first parent has 3 e3, the second e4: the mean of 9, 5, 3, 1 is 4.5.
    """
    deltas = [np.diag([9.0, 0, 3, 0]), np.diag([0, 5.0, 0, 1])]
    found, note = merged("iso_cts", deltas, common_fraction=0.5)
    assert close(found, 4.5 * np.eye(4))
    assert note == {"branch": "matrix", "common": 2, "own": [1, 1], "dependent": [0, 0]}


def test_iso_cts_looks_for_tasks_outside_of_the_common_left_space_alone() -> None:
    """Sum [[6, 0, 0], [0, 1, 2]]: common e1 with 6. Own of k = 1 parent: its second row, of length sqrt 5."""
    found, note = merged("iso_cts", [[[6, 0, 0], [0, 1, 2]], np.zeros((2, 3))], weights=[1, 0])
    mean, length = (6 + math.sqrt(5)) / 2, math.sqrt(5)
    assert close(found, [[mean, 0, 0], [0, mean / length, 2 * mean / length]])
    assert note["own"] == [1]


def test_iso_cts_with_everything_common_is_iso_c() -> None:
    deltas = [some(1, 20, 13), some(2, 20, 13)]
    assert close(merged("iso_cts", deltas, common_fraction=1.0)[0], merged("iso_c", deltas)[0])


@pytest.mark.parametrize(
    ("directions", "parents", "fraction", "common", "own"),
    [
        (10, 2, 0.8, 8, 1),
        (10, 3, 0.8, 7, 1),  # 2 / 3 is rounded to 1 for each, and one common direction is given up
        (10, 16, 0.8, 10, 0),  # 2 / 16 is rounded to 0
        (4, 2, 0.0, 0, 2),
        (7, 2, 0.0, 1, 3),  # 3.5 would be rounded to 4, and 8 directions are not there
        (5, 3, 1.0, 5, 0),
        (1, 2, 0.8, 1, 0),
    ],
)
def test_directions_are_shared_out_as_the_papers_code_does(
    directions: int, parents: int, fraction: float, common: int, own: int
) -> None:
    assert iso.divided(directions, parents, fraction) == (common, own)


@pytest.mark.parametrize("shape", [(30, 7), (7, 30), (1, 9), (9, 1), (16, 16), (1, 1)])
@pytest.mark.parametrize("parents", [2, 3, 16])
@pytest.mark.parametrize("method", METHODS)
def test_every_shape_conforms_to_the_reference(shape: tuple[int, int], parents: int, method: str) -> None:
    deltas = [some(place + 1, *shape) for place in range(parents)]
    options = {k: v for k, v in registry.resolve(method, {"scale": 0.7}, parents).items() if k != "spectral"}
    arrays = [delta.double().numpy() for delta in deltas]
    want = getattr(reference, method)(np.zeros(shape), arrays, **options)
    got, _ = merged(method, deltas, scale=0.7)
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-6 * np.abs(want).max())


@pytest.mark.parametrize("method", METHODS)
def test_low_rank_task_vectors_use_no_more_directions_than_they_have(method: str) -> None:
    """Rank 3 each, 40 x 50: whatever is merged has rank 6, and lies in the task vectors' rows and columns."""
    factors = [(some(seed, 40, 3), some(seed + 9, 3, 50)) for seed in (1, 2)]
    deltas = [(left.double() @ right.double()).float() for left, right in factors]
    found, note = merged(method, deltas, zero_below=1e-5)
    values = torch.linalg.svdvals(found.double())
    assert int((values > 1e-4 * values[0]).sum()) == 6
    columns = torch.linalg.qr(torch.cat([left for left, _ in factors], 1).double())[0]
    assert (found.double() - columns @ (columns.mT @ found.double())).abs().max() < 1e-5 * values[0]
    assert note.get("kept", [3, 3]) == [3, 3]
    assert note.get("rank", 6) == 6


def test_the_rounding_of_a_merged_lora_is_full_rank_unless_zero_below_says_otherwise() -> None:
    low = (some(1, 40, 3).double() @ some(2, 3, 50).double()).float()
    other = (some(3, 40, 3).double() @ some(4, 3, 50).double()).float()
    assert merged("iso_c", [low, other])[1]["rank"] == 40
    assert merged("iso_c", [low, other], zero_below=1e-5)[1]["rank"] == 6


@pytest.mark.parametrize("method", METHODS)
def test_a_task_vector_of_zero_beside_another_takes_no_direction(method: str) -> None:
    delta = some(1, 8, 6)
    found, note = merged(method, [delta, torch.zeros(8, 6)])
    assert note.get("kept", [3, 0]) == [3, 0]
    assert note.get("own", [1, 0]) in ([1, 0], [0, 0])
    assert bool(torch.isfinite(found).all())
    assert bool(found.any())


@pytest.mark.parametrize("method", METHODS)
def test_task_vectors_of_zero_are_not_decomposed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(spectra, "decomposed")
    found, note = merged(method, [torch.zeros(3, 4)] * 2)
    assert note == {"branch": "zero"}
    assert not found.any()


@pytest.mark.parametrize("method", ["iso_c", "iso_cts"])
def test_task_vectors_that_cancel_give_zero_and_say_so(method: str) -> None:
    found, note = merged(method, [some(1, 4, 5), -some(1, 4, 5)])
    assert note == {"branch": "cancelled"}
    assert not found.any()


@pytest.mark.parametrize("method", METHODS)
def test_a_parent_of_weight_zero_is_as_if_it_were_not_listed(method: str) -> None:
    deltas = [some(seed, 9, 12) for seed in (1, 2, 3)]
    without, _ = merged(method, deltas[:2], weights=[0.7, 1.1])
    assert torch.equal(merged(method, deltas, weights=[0.7, 1.1, 0.0])[0], without)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_parents_changes_rounding_alone_in_matrices_too(method: str) -> None:
    deltas, weights = [some(seed, 12, 15) for seed in (1, 2, 3)], [0.5, 1.0, 0.7]
    straight, _ = merged(method, deltas, weights=weights)
    backwards, _ = merged(method, deltas[::-1], weights=weights[::-1])
    torch.testing.assert_close(backwards, straight, rtol=1e-5, atol=1e-6)


def test_whitening_leaves_orthonormal_columns_alone_and_spreads_equal_ones() -> None:
    same, lacking = spectra.whitened(torch.eye(4, 2, dtype=torch.float64))
    torch.testing.assert_close(same, torch.eye(4, 2, dtype=torch.float64))
    assert lacking == 0
    twice, lacking = spectra.whitened(torch.ones(1, 2, dtype=torch.float64))
    assert twice.tolist() == [pytest.approx([2**-0.5, 2**-0.5])]
    assert lacking == 0
    equal, lacking = spectra.whitened(torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64))
    assert equal[0].tolist() == pytest.approx([2**-0.5, 2**-0.5])
    assert lacking == 1


def test_values_under_the_rounding_of_a_decomposition_are_zero() -> None:
    found = spectra.decomposed(torch.diag(torch.tensor([1.0, 1e-15, 3e-16], dtype=torch.float64)))
    assert spectra.rank(found, 0.0) == 2  # the tolerance is 3 * 2^-52 = 6.7e-16
    assert spectra.rank(found, 1.0) == 1
    assert spectra.rank(found, 0.0, length=1e4) == 1
    assert spectra.rank(spectra.decomposed(torch.zeros(2, 2, dtype=torch.float64)), 0.0) == 0


def test_what_cannot_be_decomposed_is_refused_with_the_next_move(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unmergeable, match=r"beyond float32.*set spectral to 0"):
        spectra.decomposed(torch.tensor([[math.inf]], dtype=torch.float64))

    def fail(*given: object, **options: object) -> None:
        raise torch.linalg.LinAlgError("no")

    monkeypatch.setattr(torch.linalg, "svd", fail)
    with pytest.raises(Unmergeable, match="did not converge"):
        spectra.decomposed(torch.ones(2, 2, dtype=torch.float64))


@pytest.mark.parametrize("method", METHODS)
def test_decompositions_run_on_one_thread_whatever_the_caller_has(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, decomposed, before = [], spectra.decomposed, torch.get_num_threads()

    def spied(matrix: Tensor) -> spectra.Directions:
        seen.append(torch.get_num_threads())
        return decomposed(matrix)

    monkeypatch.setattr(spectra, "decomposed", spied)
    try:
        torch.set_num_threads(3)
        merged(method, [some(1, 5, 6), some(2, 5, 6)])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert len(seen) >= 1
    assert set(seen) == {1}


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "transformer.wte.weight",
        "wpe.weight",
        "bert.embeddings.position_embeddings.weight",
        "gpt_neox.embed_out.weight",
        "shared.weight",
        "lm_head.weight",
        "score.weight",
        "text_projection",
    ],
)
def test_embeddings_and_heads_are_no_matrices(name: str) -> None:
    assert not matrices.is_matrix({"spectral": 1.0}, name, (4, 5))


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.mlp.up_proj.weight",
        "h.0.newtext.weight",
        "layers.0.shared_experts.up.weight",
        "headed.w",
    ],
)
def test_matrices_of_layers_are_taken_by_their_shape_and_by_the_rule(name: str) -> None:
    assert matrices.is_matrix({"spectral": 1.0}, name, (4, 5))
    assert not matrices.is_matrix({"spectral": 0.0}, name, (4, 5))
    assert not any(matrices.is_matrix({"spectral": 1.0}, name, shape) for shape in ((), (4,), (2, 4, 5)))


@pytest.fixture
def made(tmp_path: Path) -> Family:
    """Base and two fine-tunes with an embedding, two matrices, a vector, and stacked experts."""
    shapes = {
        "embed.weight": (6, 5),
        "up.weight": (5, 8),
        "down.weight": (8, 5),
        "norm.weight": (5,),
        "experts": (2, 5, 4),
    }
    family = Family(tmp_path, {}, {})
    for member, label in enumerate(LABELS[:3]):
        tensors = {
            name: values(10 * member + place + 1, shape, 1.0, torch.float32)
            for place, (name, shape) in enumerate(shapes.items())
        }
        family.add(label, tensors)
    return family


@pytest.mark.parametrize("method", METHODS)
def test_the_plan_and_the_notes_tell_matrices_from_the_rest(made: Family, method: str) -> None:
    rules = [{"match": "down.*", "value": 0}, {"match": "*", "value": 1}]
    found = planned(made, recipe(method, spectral=rules))
    shown = {name: job["coefficients"][WHOLE] for name, job in found.describe()["tensors"].items()}
    assert [name for name, whole in shown.items() if whole] == ["up.weight"]
    state = {job.name: torch.empty(job.shape, dtype=torch.bfloat16) for job in found.jobs}
    notes = engine.merge_into(found, made.sources, state)
    assert {name: note["branch"] for name, note in notes.items()} == {
        name: "matrix" if name == "up.weight" else "mean" for name in state
    }
    assert notes["up.weight"]["lapack"] == spectra.library()
    assert torch.__version__ in spectra.library()


def test_a_spectral_rule_between_zero_and_one_is_refused(made: Family) -> None:
    with pytest.raises(BadRequest, match=r"up.weight: tsv_m.spectral: expected 0 or 1, got 0.5"):
        planned(made, recipe("tsv_m", spectral=[{"match": "up.*", "value": 0.5}, {"match": "*", "value": 1}]))
    assert registry.problems("iso_c", {"weights": 0}, 2) == [
        "iso_c.weights: all are zero. Give some parent a weight"
    ]


def test_whole_tensors_enter_the_memory_of_a_plan(made: Family) -> None:
    """up: 40 elements. float32 in 3 inputs 480, copies 480; work 8 (4 * 40 + 6 * 25) = 2480: 3440 bytes."""
    found = planned(made, recipe("iso_c"))
    needs = {job.name: found.whole_bytes(job) for job in found.jobs}
    none = {"embed.weight": 0, "norm.weight": 0, "experts": 0}
    assert needs == {"up.weight": 3440, "down.weight": 3440, **none}
    spared = planned(made, recipe("iso_c", spectral=0))
    assert found.peak_bytes - spared.peak_bytes == 3440


def test_every_tensor_too_large_to_be_held_whole_is_refused_when_planning(made: Family) -> None:
    with pytest.raises(Unmergeable) as caught:
        plan.plan(recipe("tsv_m"), made.sources, whole_bytes=3439)
    assert str(caught.value).splitlines() == [
        "tsv_m takes matrices whole, in 3439 bytes:",
        "  down.weight: [8, 5] needs 3440 bytes",
        "  up.weight: [5, 8] needs 3440 bytes",
        "Merge fewer parents, or give these tensors `spectral` 0 by a rule on their names: "
        "they then get the mean.",
    ]
    assert plan.plan(recipe("tsv_m"), made.sources, whole_bytes=3440).jobs
    assert plan.plan(recipe("linear"), made.sources, whole_bytes=0).jobs


def test_the_default_bound_admits_the_matrices_of_a_model_of_eight_billion(tmp_path: Path) -> None:
    """14336 x 4096 in bfloat16, twelve parents and no more; every label reads the same sparse file."""
    head, _ = header.write([("up.weight", "bfloat16", (14336, 4096))])
    path = tmp_path / "model.safetensors"
    path.write_bytes(head)
    with path.open("r+b") as stream:
        stream.truncate(len(head) + 2 * 14336 * 4096)
    sources = dict.fromkeys(LABELS, tmp_path)
    for parents in (2, 12):
        assert plan.plan(recipe("tsv_m", parents=parents), sources).peak_bytes < 8 << 30
    with pytest.raises(Unmergeable, match=r"up\.weight: \[14336, 4096\] needs 79\d{8} bytes"):
        plan.plan(recipe("tsv_m", parents=13), sources)
