"""The index of a parent against its base: what it measures, and what it refuses."""

import hashlib
import json
from itertools import pairwise as neighbours
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import BadCheckpoint, LabError, Unmergeable
from stages.core.weights import arithmetic, index, regions
from stages.core.weights.numerics import REGION
from stages.core.weights.reader import INDEX, Checkpoint
from stages.core.weights.sums import fold, pairwise
from tests.core.weights.family import LABELS, Family, save
from tests.core.weights.regional import LONG, moved, regional, side


def built(made: Family, parent: str = LABELS[1], **options: Any) -> dict[str, regions.Regions]:
    return index.build(side(made, LABELS[0], "base"), side(made, parent), **options)


def pair(root: Path, base: torch.Tensor, parent: torch.Tensor) -> Family:
    made = Family(root, {}, {})
    made.add(LABELS[0], {"w": base})
    made.add(LABELS[1], {"w": parent})
    return made


def test_squares_are_those_of_the_difference_region_by_region(tmp_path: Path) -> None:
    base = torch.ones(REGION + 2)
    parent = base.clone()
    parent[0], parent[1] = 4.0, 5.0  # 9 + 16
    parent[REGION], parent[REGION + 1] = 0.0, 13.0  # 1 + 144
    assert built(pair(tmp_path, base, parent))["w"].squares == (25.0, 145.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_squares_are_the_trees_of_the_contract_on_float32_differences(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    made = regional(tmp_path, dtype)
    base, parent = moved(0, dtype), moved(1, dtype)
    for name, found in built(made).items():
        if name == "ids":
            assert found.squares == (0.0,)
            continue
        delta = (parent[name].float() - base[name].float()).reshape(-1)
        parts = [delta[start : start + REGION] for start in range(0, delta.numel(), REGION)]
        expected = [pairwise([fold(leaf * leaf) for leaf in arithmetic.leaves(part)]) for part in parts]
        assert found.squares == tuple(expected)
        assert all(square > 0.0 for square in found.squares)


def test_digests_are_those_of_the_bytes_in_the_file(tmp_path: Path) -> None:
    made = regional(tmp_path)
    path = made.sources[LABELS[1]] / "model.safetensors"
    spec, raw = Checkpoint(path.parent).tensors["long"], path.read_bytes()
    found = built(made)["long"].sha256
    ends = [0, 4 * REGION, 8 * REGION, 4 * LONG]
    assert found == tuple(
        hashlib.sha256(raw[spec.start + a : spec.start + b]).hexdigest() for a, b in neighbours(ends)
    )


def test_threads_order_of_tensors_and_shards_change_nothing(tmp_path: Path) -> None:
    made = regional(tmp_path / "one")
    plain = built(made)
    assert built(made, threads=3) == plain
    other = regional(tmp_path / "other")
    tensors = moved(1, torch.float32)
    save(tensors, other.sources[LABELS[1]] / "model.safetensors", sorted(tensors, key=lambda n: n[::-1]))
    other.adopt(LABELS[1], other.sources[LABELS[1]])
    folder = tmp_path / "shards"
    folder.mkdir()
    base, placed = moved(0, torch.float32), {}
    for number, (name, tensor) in enumerate(base.items()):
        save({name: tensor}, folder / f"s{number}.safetensors")
        placed[name] = f"s{number}.safetensors"
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))
    other.adopt(LABELS[0], folder)
    assert built(other) == plain
    assert regions.digest(built(other)) == regions.digest(plain)


def test_an_index_survives_json_and_nothing_else_is_taken_for_one(tmp_path: Path) -> None:
    found = built(regional(tmp_path))
    assert regions.from_json(json.loads(json.dumps(regions.to_json(found)))) == found
    for tree in ([], {"w": {"squares": [1.0]}}, {"w": {"squares": ["x"], "sha256": []}}, {"w": 1}):
        with pytest.raises(LabError, match="no index of a parent"):
            regions.from_json(tree)


def test_an_index_fits_its_own_tensors_alone(tmp_path: Path) -> None:
    made = regional(tmp_path)
    found, tensors = built(made), Checkpoint(made.sources[LABELS[1]]).tensors
    assert regions.fits(found, tensors)
    assert not regions.fits({name: one for name, one in found.items() if name != "norm"}, tensors)
    assert not regions.fits({**found, "long": found["norm"]}, tensors)
    assert not regions.fits({**found, "norm": regions.Regions(found["norm"].squares, ())}, tensors)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("label", LABELS[:2])
def test_one_flipped_bit_of_either_file_is_found(tmp_path: Path, label: str, threads: int) -> None:
    made = regional(tmp_path)
    path = made.sources[label] / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*expected sha256"):
        built(made, threads=threads)


def test_a_manifest_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    made = regional(tmp_path)
    made.manifests[LABELS[1]] = {}
    with pytest.raises(BadCheckpoint, match=r"^\[manifest-incomplete\].*of parent 1 lacks"):
        built(made)


@pytest.mark.parametrize(
    ("base", "parent"), [(1.0, float("nan")), (float("inf"), 1.0), (-3e38, 3e38)], ids=str
)
def test_a_difference_that_is_no_float32_is_refused(tmp_path: Path, base: float, parent: float) -> None:
    made = pair(tmp_path, torch.tensor([0.0, base]), torch.tensor([0.0, parent]))
    with pytest.raises(Unmergeable, match="cannot index tensor 'w': parent 1 or the base holds a NaN"):
        built(made)


def test_progress_ends_at_the_bytes_of_the_parents_tensors(tmp_path: Path) -> None:
    made, seen = regional(tmp_path), []
    built(made, on_progress=lambda done, total: seen.append((done, total)))
    size = sum(spec.end - spec.start for spec in Checkpoint(made.sources[LABELS[1]]).tensors.values())
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)
