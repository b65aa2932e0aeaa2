"""Tensors taken from one parent each: whose they are, what is left unread, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.core.errors import BadCheckpoint, BadRequest, Unmergeable
from stages.core.weights import engine, writer
from tests.core.weights.family import LABELS, Family, planned, recipe, state
from tests.core.weights.merging import assert_conforms
from tests.reference import data_flow

SWAP = [{"match": "layer.1.*", "value": 2}, {"match": "norm.*", "value": 3}, {"match": "*", "value": 1}]


def family(root: Path, *states: dict[str, Tensor]) -> Family:
    found = Family(root, {}, {})
    for label, tensors in zip(LABELS[1:], states, strict=False):
        found.add(label, tensors)
    return found


def merged(made: Family, **parameters: Any) -> dict[str, Tensor]:
    plan = planned(made, recipe("passthrough", parents=len(made.sources), **parameters))
    return dict(engine.stream(plan, made.sources, made.manifests))


def test_rules_by_name_take_groups_of_tensors_from_other_parents(tmp_path: Path) -> None:
    states = [state(member, torch.bfloat16) for member in (1, 2, 3)]
    found = merged(family(tmp_path, *states), donor=SWAP)
    for name, tensor in found.items():
        donor = {"layer.1.weight": 1, "norm.weight": 2}.get(name, 0)
        assert torch.equal(tensor, states[donor][name])
        assert not tensor.numel() or not torch.equal(tensor, states[donor - 1][name])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_one_parent_at_scale_1_comes_back_byte_for_byte(tmp_path: Path, dtype: str) -> None:
    own = state(1, getattr(torch, dtype)) | {"minus": torch.tensor([-0.0, 0.0], dtype=getattr(torch, dtype))}
    made = family(tmp_path, own)
    plan = planned(made, recipe("passthrough", parents=1, dtype=dtype))
    for name, tensor in engine.stream(plan, made.sources, made.manifests):
        assert torch.equal(tensor.reshape(-1).view(torch.uint8), own[name].reshape(-1).view(torch.uint8))


@pytest.mark.parametrize("output", ["float32", "bfloat16", "float16"])
def test_scaled_tensors_of_mixed_types_conform_to_the_reference(tmp_path: Path, output: str) -> None:
    states = [state(1, torch.float32), state(2, torch.bfloat16), state(3, torch.float16)]
    arrays = [{name: tensor.double().numpy() for name, tensor in member.items()} for member in states]
    donors = {"layer.1.weight": 2, "norm.weight": 3}
    want = data_flow.passthrough(arrays, lambda name: donors.get(name, 1), -0.7)
    made = family(tmp_path, *states)
    wanted = recipe("passthrough", parents=3, dtype=output, donor=SWAP, scale=-0.7)
    for name, tensor in engine.stream(planned(made, wanted), made.sources, made.manifests):
        if tensor.numel():
            assert_conforms(tensor, want[name], [want[name]], output, ulps=3, what=name)


def test_a_donor_by_layers_must_come_out_whole(tmp_path: Path) -> None:
    tensors = {f"layers.{layer}.w": torch.ones(2) for layer in range(3)}
    made = family(tmp_path, tensors, {name: 2 * tensor for name, tensor in tensors.items()})
    whole = [{"match": "*", "layers": [1, 2, 2]}]
    assert [float(merged(made, donor=whole)[f"layers.{n}.w"][0]) for n in range(3)] == [1, 2, 2]
    with pytest.raises(BadRequest) as told:
        merged(made, donor=[{"match": "*", "layers": [1, 2]}])
    assert told.value.problems == (
        "donor: 1.5 at 'layers.1.w' is no parent. Between layers use rules with one value each",
    )


def test_every_tensor_that_its_donor_lacks_is_listed(tmp_path: Path) -> None:
    made = family(
        tmp_path, {"a": torch.ones(2), "b": torch.ones(2)}, {"a": torch.ones(3), "c": torch.ones(2)}
    )
    with pytest.raises(Unmergeable) as told:
        merged(made, donor=[{"match": "b", "value": 2}, {"match": "*", "value": 1}])
    assert str(told.value).splitlines() == [
        "2 tensors do not fit together:",
        "  b: donor takes it from parent 2; it is in parent 1",
        "  c: donor takes it from parent 1; it is in parent 2",
        "Name a parent that has them, by rules of donor.",
    ]


def test_shapes_and_integers_count_only_in_the_donor(tmp_path: Path) -> None:
    """Elsewhere integers must be equal in all parents; here the others are not asked."""
    first = {"a": torch.ones(2), "steps": torch.tensor([1, 2]), "on": torch.tensor(True)}
    second = {"a": torch.ones(3), "steps": torch.tensor([3, 4]), "on": torch.tensor(False)}
    found = merged(family(tmp_path, first, second), donor=2)
    assert found["a"].shape == (3,)
    assert found["steps"].tolist() == [3, 4]
    assert not found["on"]


def test_the_other_parents_are_verified_but_not_merged(tmp_path: Path) -> None:
    bad = {"w": torch.tensor([float("nan")])}
    made = family(tmp_path, {"w": torch.ones(1)}, bad)
    assert merged(made)["w"].tolist() == [1.0]
    with pytest.raises(Unmergeable, match=r"cannot merge tensor 'w'.*parent 2"):
        merged(made, donor=2)
    made.manifests[LABELS[2]]["model.safetensors"] = "0" * 64
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*member-1/model.safetensors"):
        merged(made)


def test_a_parameter_that_is_no_donor_still_falls_to_rules_for_integers(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(2), "steps": torch.tensor([1])}
    made = family(tmp_path, tensors, tensors | {"steps": torch.tensor([2])})
    rules = [{"match": "steps", "value": 2}, {"match": "*", "value": 1}]
    assert merged(made, donor=rules)["steps"].tolist() == [2]


def test_a_tensor_is_read_in_full_blocks_whatever_their_size(tmp_path: Path) -> None:
    made = family(tmp_path / "family", *[state(member, torch.bfloat16) for member in (1, 2, 3)])
    plan = planned(made, recipe("passthrough", parents=3, donor=SWAP, scale=0.3))
    found = set()
    for threads, block in ((1, 1 << 16), (3, 1 << 18)):
        output = tmp_path / str(threads)
        writer.preallocate(plan, output)
        done = engine.execute(
            plan, made.sources, made.manifests, output, threads=threads, block_elements=block
        )
        found.add(done.files["model.safetensors"])
    assert len(found) == 1
