"""The memory of the merge stage: digests and statistics of parents that did not change."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stages.core.errors import BadCheckpoint
from stages.core.records import seen
from stages.core.records.canonical import write_json
from stages.core.records.manifest import Manifest
from stages.core.weights.statistics import wanted
from stages.merge import by_hand
from stages.merge.memory import Memory
from tests.merge.test_by_hand import card, recipe

TIES = "method: ties\nbase: base\nparents: [left, right]\n"


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough at once."""
    monkeypatch.setattr(seen, "SETTLED_NS", -60_000_000_000)


@pytest.fixture
def family(parents: Path) -> Path:
    """The acquired parents of conftest with cards that are whole."""
    for name in ("base", "left", "right"):
        write_json(parents / name / "card.json", card(name))
    return parents


def merge(family: Path, out: Path, memory: Memory, text: str = TIES) -> tuple[Manifest, dict[str, object]]:
    made = by_hand.merge(recipe(family, text), out, unreviewed=False, memory=memory, report=lambda *_: None)
    return made.artifact, json.loads((out / "run.json").read_text())


def statistics(folder: Path) -> Sequence[Path]:
    return sorted((folder / "statistics").iterdir())


def test_a_second_merge_remembers_digests_and_statistics_and_writes_the_same_bytes(
    family: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "memory"
    first, run = merge(family, tmp_path / "1", Memory(folder))
    assert run["digests_remembered"] == []
    written = {path: path.read_bytes() for path in statistics(folder)}
    assert len(written) == 2  # one subject for each parent's magnitudes
    second, run = merge(family, tmp_path / "2", Memory(folder))
    assert (second, len(run["digests_remembered"])) == (first, 3)
    assert {path: path.read_bytes() for path in statistics(folder)} == written
    third, run = merge(family, tmp_path / "3", Memory())
    assert (third, run["digests_remembered"]) == (first, [])


def test_a_parent_altered_in_place_is_hashed_again_and_refused(family: Path, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory")
    merge(family, tmp_path / "1", memory)
    weights = family / "left" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    with weights.open("r+b") as stream:
        stream.write(data)
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*expected sha256"):
        merge(family, tmp_path / "2", memory)


def test_a_statistic_altered_on_disk_is_measured_again(family: Path, tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    first, _ = merge(family, tmp_path / "1", Memory(folder))
    for path in statistics(folder):
        tree = json.loads(path.read_text())
        for values in tree["entries"].values():
            values[0] = 3.0
        path.write_text(json.dumps(tree))
    second, _ = merge(family, tmp_path / "2", Memory(folder))
    assert second == first


@pytest.mark.parametrize("spoilt", ["", "{}", "[1]", '{"entries": 1, "sha256": "x"}'])
def test_a_memory_that_cannot_be_read_is_empty(family: Path, tmp_path: Path, spoilt: str) -> None:
    folder = tmp_path / "memory"
    first, _ = merge(family, tmp_path / "1", Memory(folder))
    for path in (*statistics(folder), folder / "digests.json"):
        path.write_text(spoilt)
    second, run = merge(family, tmp_path / "2", replace(Memory(folder)))
    assert (second, run["digests_remembered"]) == (first, [])


def test_a_worker_can_teach_nothing_but_what_it_was_to_measure(family: Path, tmp_path: Path) -> None:
    """A worker that read hostile weights may say anything, of other parents too."""
    folder = tmp_path / "memory"
    survey = by_hand.survey(recipe(family, TIES), tmp_path / "out", unreviewed=False)
    (subject, (entry, *_)), *_ = wanted(survey.plan).items()
    told = {subject: {entry: (1.0, 2.0), "other 5": (3.0, 4.0)}, "kept_magnitude|1|x|y": {"w 1": (5.0, 6.0)}}
    Memory(folder).keep(survey.plan, told)
    assert [json.loads(path.read_text())["entries"] for path in statistics(folder)] == [{entry: [1.0, 2.0]}]
    assert Memory(folder).facts(survey.plan)[subject] == {entry: [1.0, 2.0]}
