"""The loss between models: that of a mean worked out once more with torch, of bytes that were hashed."""

from pathlib import Path

import pytest
import torch

from stages.core.errors import BadCheckpoint, LabError
from stages.core.records import manifest
from stages.core.scoring.interpolation import Mean, losses
from stages.core.weights.index import Side
from stages.core.weights.reader import Checkpoint
from tests.core.scoring.tiny import tiny, write_weights

COPY = [("copy: abc>", "abc\n"), ("copy: de>", "de\n")]
SORT = [("sort: cab>", "abc\n"), ("sort: ed>", "de\n")]


def side(folder: Path) -> Side:
    files = manifest.load(folder).files
    return Side(folder.name, folder, {name: record.sha256 for name, record in files.items()})


def state(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = Checkpoint(folder)
    return {name: checkpoint.read(name).float() for name in checkpoint.tensors}


def test_a_mean_is_the_sum_in_float32_over_the_number(tmp_path: Path) -> None:
    folders = [tiny(tmp_path / f"m{seed}", seed) for seed in range(3)]
    states = [state(folder) for folder in folders]
    with Mean([side(folder) for folder in folders]) as mean:
        for name in mean.tensors:
            expected = (states[0][name] + states[1][name] + states[2][name]) / 3
            assert torch.equal(mean.read(name), expected)
        mean.finish()


def test_the_loss_between_models_is_that_of_their_mean(tmp_path: Path) -> None:
    base, one, two = (tiny(tmp_path / name, seed) for seed, name in enumerate(("base", "one", "two")))
    told: list[tuple[int, int]] = []
    cases = {"copy": COPY, "sort": SORT}
    found = losses(side(base), [side(one), side(two)], cases, lambda *counts: told.append(counts))
    assert told == [(number, 6) for number in range(1, 7)]
    assert list(found["ends"]) == ["base", "one", "two"]
    states = [state(folder) for folder in (one, two)]
    # the mean of two bfloat16 numbers is not always one: powers of two keep it exact
    half = tiny(tmp_path / "half", 9)
    write_weights(half, {name: (states[0][name] + states[1][name]) / 2 for name in states[0]})
    own = losses(side(half), [side(half)], {"copy": COPY, "sort": SORT})
    assert found["mean"] == pytest.approx(own["ends"]["half"], abs=0.02)
    assert found["mean"] != pytest.approx(found["ends"]["one"], abs=0.02)


def test_a_model_lies_in_its_own_basin(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base", 1)
    found = losses(side(base), [side(base)], {"copy": COPY})
    assert found["ends"]["base"] == found["to_base"]["base"] == found["mean"]


def test_each_skill_counts_alike_however_many_cases_it_has(tmp_path: Path) -> None:
    base = side(tiny(tmp_path / "base", 1))
    alone = [losses(base, [base], {"one": pairs})["mean"] for pairs in (COPY, SORT)]
    both = losses(base, [base], {"one": COPY * 3, "two": SORT})["mean"]
    assert both == pytest.approx(sum(alone) / 2, abs=1e-4)


def test_a_case_longer_than_the_context_is_an_error(tmp_path: Path) -> None:
    base = side(tiny(tmp_path / "base", 1))
    with pytest.raises(LabError, match="the context 256"):
        losses(base, [base], {"long": [("a" * 300, "b")]})


def test_bytes_that_are_not_those_of_the_manifest_are_refused(tmp_path: Path) -> None:
    base = side(tiny(tmp_path / "base", 1))
    path = base.folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadCheckpoint, match="is not what its manifest says"):
        losses(base, [base], {"copy": COPY})


def test_a_file_that_no_manifest_names_is_refused(tmp_path: Path) -> None:
    base = tiny(tmp_path / "base", 1)
    with pytest.raises(BadCheckpoint, match=r"the manifest of base lacks"):
        Mean([Side("base", base, {})])
