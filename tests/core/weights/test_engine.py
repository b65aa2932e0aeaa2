"""What the engine refuses, verifies and leaves behind."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages.core.errors import BadCheckpoint, LabError, Unmergeable
from stages.core.records.files import sha256_file
from stages.core.weights import engine, plan, writer
from stages.core.weights.backend import Block
from stages.core.weights.plain import Plain
from stages.core.weights.reader import INDEX, Checkpoint
from tests.core.weights.family import LABELS, Family, family, planned, recipe, save, state


def merge(made: Family, wanted: Any, output: Path, **options: Any) -> engine.Merged:
    """Plan, reserve, execute."""
    made_plan = planned(made, wanted)
    writer.preallocate(made_plan, output)
    return engine.execute(made_plan, made.sources, made.manifests, output, **options)


@pytest.fixture
def made(tmp_path: Path) -> Family:
    """A base and two fine-tunes in bfloat16."""
    return family(tmp_path / "family", torch.bfloat16)


def test_the_digests_returned_are_those_of_the_files(made: Family, tmp_path: Path) -> None:
    merged = merge(made, recipe("ties"), tmp_path / "out")
    assert merged.files == {"model.safetensors": sha256_file(tmp_path / "out" / "model.safetensors")}
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == state(0, torch.bfloat16).keys()


def test_progress_ends_at_all_bytes_and_never_falls(made: Family, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    merge(
        made, recipe("linear"), tmp_path / "out", on_progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)


@pytest.mark.parametrize("method", ["linear", "ties"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("place", ["head", "first", "last"])
def test_one_flipped_bit_in_a_parent_is_found_and_nothing_loadable_is_left(
    made: Family, tmp_path: Path, method: str, threads: int, place: str
) -> None:
    wanted = planned(made, recipe(method))
    path = made.sources[LABELS[2]] / "model.safetensors"
    raw = bytearray(path.read_bytes())
    start = Checkpoint(path.parent).tensors["embed.weight"].start
    raw[{"head": start - 1, "first": start, "last": len(raw) - 1}[place]] ^= 1
    path.write_bytes(raw)
    writer.preallocate(wanted, tmp_path / "out")
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*member-2/model.safetensors"):
        engine.execute(wanted, made.sources, made.manifests, tmp_path / "out", threads=threads)
    with pytest.raises(BadCheckpoint):
        Checkpoint(tmp_path / "out")


def test_a_parent_that_shrinks_after_planning_is_found(made: Family, tmp_path: Path) -> None:
    wanted = planned(made, recipe("linear"))
    os.truncate(made.sources[LABELS[1]] / "model.safetensors", 1000)
    writer.preallocate(wanted, tmp_path / "out")
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\]"):
        engine.execute(wanted, made.sources, made.manifests, tmp_path / "out")


def test_a_file_without_a_digest_in_the_manifest_is_refused(made: Family, tmp_path: Path) -> None:
    made.manifests[LABELS[1]] = {}
    with pytest.raises(BadCheckpoint, match=r"^\[manifest-incomplete\].*parent 1"):
        merge(made, recipe("linear"), tmp_path / "out")


def test_an_index_is_verified_like_a_shard(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    for label in LABELS[1:3]:
        directory = tmp_path / label
        directory.mkdir()
        save({"w": torch.ones(4)}, directory / "a.safetensors")
        (directory / INDEX).write_text('{"weight_map":{"w":"a.safetensors"}}')
        made.adopt(label, directory)
    (made.sources[LABELS[1]] / INDEX).write_text('{"weight_map":{"w":"a.safetensors"} }')
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*index\.json"):
        merge(made, recipe("linear"), tmp_path / "out")


def test_bytes_that_change_between_two_reads_are_found(
    made: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing held, TIES reads each tensor again: the second read must equal the hashed one."""
    monkeypatch.setattr(plan.Plan, "hold_bytes", 0)
    wanted = planned(made, recipe("ties"))
    assert all(wanted.rereads(job) for job in wanted.jobs if job.elements)
    path = made.sources[LABELS[1]] / "model.safetensors"
    start = Checkpoint(path.parent).tensors["embed.weight"].start
    measure = Plain.measure

    def tampering(*given: Any) -> Any:
        found = measure(*given)
        with path.open("r+b") as stream:
            stream.seek(start)
            stream.write(b"\x01")
        return found

    monkeypatch.setattr(Plain, "measure", tampering)
    writer.preallocate(wanted, tmp_path / "out")
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*changed between two reads"):
        engine.execute(wanted, made.sources, made.manifests, tmp_path / "out")


@pytest.mark.parametrize("method", ["slerp", "ties", "breadcrumbs", "sce", "model_stock"])
def test_holding_a_tensor_or_reading_it_again_gives_the_same_bytes(
    made: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    held = merge(made, recipe(method), tmp_path / "held").files
    monkeypatch.setattr(plan.Plan, "hold_bytes", 0)
    assert merge(made, recipe(method), tmp_path / "again", threads=2).files == held


def test_tensors_may_lie_in_any_order(tmp_path: Path) -> None:
    made = family(tmp_path / "family", torch.bfloat16)
    straight = merge(made, recipe("ties"), tmp_path / "straight").files
    for member, label in enumerate(LABELS[:3]):
        directory = made.sources[label]
        tensors = state(member, torch.bfloat16)
        save(tensors, directory / "model.safetensors", sorted(tensors, key=lambda name: name[::-1]))
        made.adopt(label, directory)
    assert merge(made, recipe("ties"), tmp_path / "shuffled").files == straight


@pytest.mark.parametrize("method", ["linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_parent_with_a_value_that_is_not_finite_is_refused(tmp_path: Path, method: str, bad: float) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label in LABELS[:3]:
        tensors = state(1, torch.bfloat16)
        if label == LABELS[2]:
            tensors["norm.weight"][41] = bad
        made.add(label, tensors)
    with pytest.raises(Unmergeable, match=r"tensor 'norm\.weight': parent 2 holds a NaN or an infinity"):
        merge(made, recipe(method), tmp_path / "out")


def test_a_result_beyond_float16_is_refused(tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label in LABELS[1:3]:
        made.add(label, {"w": torch.full((3,), 60000.0)})
    wanted = recipe("linear", dtype="float16", weights=[1.0, 1.0], normalise=False)
    with pytest.raises(Unmergeable, match=r"tensor 'w': a merged weight is beyond torch\.float16"):
        merge(made, wanted, tmp_path / "out")


def test_integer_tensors_are_copied_if_equal_and_refused_if_not(tmp_path: Path) -> None:
    whole = {"ids": torch.arange(300_001), "on": torch.tensor([True, False]), "w": torch.ones(3)}
    equal, unequal = Family(tmp_path / "equal", {}, {}), Family(tmp_path / "unequal", {}, {})
    for label in LABELS[1:3]:
        equal.add(label, whole)
        changed = whole["ids"].clone()
        changed[-1] += int(label, 16)
        unequal.add(label, {**whole, "ids": changed})
    merge(equal, recipe("linear"), tmp_path / "out")
    loaded = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(loaded["ids"], whole["ids"])
    assert torch.equal(loaded["on"], whole["on"])
    assert loaded["w"].dtype == torch.bfloat16
    with pytest.raises(Unmergeable, match=r"tensor 'ids': its int64 values differ between the parents"):
        merge(unequal, recipe("linear"), tmp_path / "refused")


def test_parents_of_unlike_float_types_are_merged_from_float32(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[1], {"w": torch.tensor([1.0, 2.0], dtype=torch.bfloat16)})
    made.add(LABELS[2], {"w": torch.tensor([1.0 + 2**-20, 4.0])})
    ((_, merged),) = engine.stream(planned(made, recipe("linear", dtype="float32")), made.sources)
    assert merged.tolist() == [1.0 + 2**-21, 3.0]


def test_antiparallel_tensors_have_no_slerp(tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    made.add(LABELS[1], {"w": torch.tensor([1.0, -2.0, 3.0])})
    made.add(LABELS[2], {"w": torch.tensor([-2.0, 4.0, -6.0])})
    with pytest.raises(Unmergeable, match=r"tensor 'w': the parents point in opposite directions"):
        merge(made, recipe("slerp"), tmp_path / "out")


def test_a_zero_tensor_has_no_slerp_with_another(tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    made.add(LABELS[1], {"w": torch.zeros(3)})
    made.add(LABELS[2], {"w": torch.ones(3)})
    with pytest.raises(Unmergeable, match=r"tensor 'w': one parent is all zeros"):
        merge(made, recipe("slerp"), tmp_path / "out")


def test_slerp_notes_the_branch_of_each_tensor(tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    made.add(LABELS[1], {"a": torch.tensor([1.0, 0.0]), "b": torch.ones(9), "c": torch.zeros(2)})
    made.add(LABELS[2], {"a": torch.tensor([0.0, 1.0]), "b": torch.ones(9) * 2, "c": torch.zeros(2)})
    merged = merge(made, recipe("slerp", dtype="float32"), tmp_path / "out")
    assert {name: note["branch"] for name, note in merged.notes.items()} == {
        "a": "arc",
        "b": "chord",
        "c": "zero",
    }
    assert json.loads(json.dumps(merged.notes)) == merged.notes


def test_outputs_must_be_reserved_at_their_exact_size(made: Family, tmp_path: Path) -> None:
    wanted = planned(made, recipe("linear"))
    with pytest.raises(LabError, match=r"cannot write .*model\.safetensors"):
        engine.execute(wanted, made.sources, made.manifests, tmp_path)
    writer.preallocate(wanted, tmp_path / "out")
    with pytest.raises(LabError, match=r"exists\. Merge into an empty directory"):
        writer.preallocate(wanted, tmp_path / "out")
    os.truncate(tmp_path / "out" / "model.safetensors", 5)
    with pytest.raises(LabError, match=r"was not made for this plan"):
        engine.execute(wanted, made.sources, made.manifests, tmp_path / "out")


def test_reserved_files_do_not_load(made: Family, tmp_path: Path) -> None:
    writer.preallocate(planned(made, recipe("linear")), tmp_path / "out")
    with pytest.raises(BadCheckpoint):
        Checkpoint(tmp_path / "out")


def test_a_live_tensor_of_another_type_is_refused_before_anything_is_written(made: Family) -> None:
    live = {name: torch.zeros_like(tensor) for name, tensor in state(0, torch.bfloat16).items()}
    live["norm.weight"] = live["norm.weight"].float()
    wanted = planned(made, recipe("linear"))
    with pytest.raises(
        LabError, match=r"merge into 'norm\.weight': expected contiguous bfloat16 \[99\], got torch\.float32"
    ):
        engine.merge_into(wanted, made.sources, live)
    assert not live["embed.weight"].any()


def test_blocks_are_whole_leaves(made: Family) -> None:
    with pytest.raises(LabError, match=r"block_elements: expected a multiple of 65536, got 1000"):
        next(engine.stream(planned(made, recipe("linear")), made.sources, block_elements=1000))


@pytest.mark.parametrize("parents", [2, 16])
def test_less_memory_means_smaller_blocks_and_the_same_bytes(tmp_path: Path, parents: int) -> None:
    made = family(tmp_path / "family", torch.bfloat16, parents=parents)
    wanted = recipe("ties", parents=parents)
    plenty, little = planned(made, wanted, memory_bytes=4 << 30), planned(made, wanted, memory_bytes=1 << 26)
    assert plenty.block_elements(2) == 1 << 19
    assert little.block_elements(2) == 1 << 16
    assert (plenty.hold_bytes, little.hold_bytes) == (2 << 30, 1 << 25)
    assert plenty.digest == little.digest
    digests = []
    for number, one in enumerate((plenty, little)):
        writer.preallocate(one, tmp_path / str(number))
        out = tmp_path / str(number)
        digests.append(engine.execute(one, made.sources, made.manifests, out, threads=2).files)
    assert digests[0] == digests[1]


def test_blocks_are_joined_to_whole_tensors_in_their_order() -> None:
    first, second = np.arange(7, dtype=np.uint8), np.arange(7, dtype=np.uint8) * 10
    blocks = [Block(at, [first[at : at + 3], second[at : at + 3]]) for at in (0, 3, 6)]
    (whole,) = engine.whole_tensor(blocks)
    assert whole.start == 0
    assert [row.tolist() for row in whole.rows] == [first.tolist(), second.tolist()]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("della", {"rescale": "l1", "density": [0.4, 0.6], "epsilon": [0.2, 0.1]}),
        ("della_linear", {"rescale": "l1"}),
        ("ties", {"density": [0.1, 0.7], "divisor": "none"}),
        ("dare_ties", {"drop": [0.1, 0.7]}),
        ("breadcrumbs", {"density": [0.1, 0.7], "gamma": [0.05, 0.0]}),
    ],
)
def test_a_share_for_each_parent_gives_one_result_for_any_blocks_and_threads(
    tmp_path: Path, method: str, options: dict[str, Any]
) -> None:
    made = family(tmp_path, torch.bfloat16)
    plan = planned(made, recipe(method, dtype="float32", **options))
    runs = ((1, 1 << 16), (2, 1 << 16), (2, 3 << 16), (1, 1 << 18))
    first, *others = (
        dict(engine.stream(plan, made.sources, threads=threads, block_elements=block))
        for threads, block in runs
    )
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)
