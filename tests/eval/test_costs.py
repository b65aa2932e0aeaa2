from pathlib import Path

import pytest

from stages.core.records.costs import Costs
from stages.core.records.evidence import Subject
from stages.eval.baselines import Artifact, parent
from stages.eval.costs import costs, size_of
from stages.eval.stopwatch import representatives
from stages.eval.store import EvidenceStore
from tests.core.scoring.tiny import CHARACTERS, tiny

# CONFIG of tiny: 99 characters, hidden 32, MLP 48, two layers, tied
LAYER = 4 * 32 * 32 + 3 * 32 * 48
NORMS = 5 * 32
TABLE = len(CHARACTERS) * 32


@pytest.fixture
def store(tmp_path: Path) -> EvidenceStore:
    return EvidenceStore(tmp_path / "store")


def one(folder: Path, name: str, **changed: object) -> Artifact:
    tiny(folder / name, 1, **changed)
    return parent(folder, name)


def test_a_tied_model_multiplies_by_its_table_once_and_norms_are_no_matrix(
    tmp_path: Path, store: EvidenceStore
) -> None:
    size = size_of(one(tmp_path, "tied"), store)
    assert size.parameters == TABLE + 2 * LAYER + NORMS
    assert size.bytes == 2 * size.parameters, "bfloat16"
    assert size.flops == 2 * (TABLE + 2 * LAYER)


def test_a_table_that_is_only_looked_up_costs_bytes_and_no_work(tmp_path: Path, store: EvidenceStore) -> None:
    tied, untied = (one(tmp_path, str(tie), tie_word_embeddings=tie) for tie in (True, False))
    assert size_of(untied, store).parameters - size_of(tied, store).parameters == TABLE
    assert size_of(untied, store).flops == size_of(tied, store).flops


def test_a_size_that_was_counted_once_outlives_the_weights(tmp_path: Path, store: EvidenceStore) -> None:
    model = one(tmp_path, "m")
    found = size_of(model, store)
    (model.folder / "model.safetensors").unlink()
    assert size_of(model, store) == found


def test_costs_are_ratios_to_the_first_parent(tmp_path: Path, store: EvidenceStore) -> None:
    a, b = one(tmp_path, "a"), one(tmp_path, "b", initializer_range=0.1)
    deep = one(tmp_path, "deep", num_hidden_layers=4)
    found = costs(
        [
            (Subject("a", "parent", "", a.digest, 1), [a]),
            (Subject("mean", "ensemble", "", "", 2, 2), [a, b]),
            (Subject("router", "router", "", "", 1, 2), [a, b]),
            (Subject("cascade", "cascade", "", "", 1.4, 2), [a, b]),
            (Subject("deep", "candidate", "", deep.digest, 1), [deep]),
        ],
        store,
    )
    assert {name: one.compute_ratio for name, one in found.items()} == {
        "a": 1.0,
        "mean": 2.0,
        "router": 1.0,
        "cascade": 1.4,
        "deep": round((TABLE + 4 * LAYER) / (TABLE + 2 * LAYER), 4),
    }
    assert [one.memory_ratio for one in found.values()][:4] == [1.0, 2.0, 2.0, 2.0]
    assert [one.latency_ratio for one in found.values()] == ["1.0", "≤2", "1.0", "≤1.5", "≤2"]
    assert found["router"].models == 2


def test_one_subject_of_each_size_is_timed_and_a_candidate_beside_the_parent() -> None:
    names = {"base": "base", "a": "parent", "b": "parent", "mean": "ensemble", "other": "ensemble",
             "deep": "candidate", "c": "candidate", "d": "candidate"}  # fmt: skip
    subjects = [Subject(name, kind, "", "", 1) for name, kind in names.items()]
    small, double, deep = (
        Costs(1, 1, 10, 20, 30, 1, 1),
        Costs(2, 2, 20, 40, 60, 2, 2),
        Costs(1, 1, 15, 30, 45, 1.5, 1.5),
    )
    each = dict.fromkeys(names, small) | {"mean": double, "other": double, "deep": deep}
    assert representatives(subjects, each) == ["a", "deep", "c", "mean"]
