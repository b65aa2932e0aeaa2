"""The benchmark itself runs, on checkpoints of a megabyte, and its runs agree on bytes; no time is judged."""

from math import prod
from pathlib import Path

import pytest

from stages.core.errors import LabError
from stages.core.records.files import sha256_file
from tests.bench import checkpoints, engine, memory, offers, parts, peer, report
from tests.bench.engine import Measured
from tests.bench.floors import FILE, FLOORS
from tests.bench.runs import Run

METHODS = ("linear", "ties")
TINY = ["--size-gb", "0.001", "--threads", "2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def measured(place: Path) -> Measured:
    words = [*TINY, "--rounds", "1", "--methods", ",".join(METHODS), "--profile", "ties"]
    return engine.main([*words, "--folder", str(place), "--out", str(place / "report.md")])


def test_every_floor_and_method_has_a_row_for_the_inputs_that_it_reads(measured: Measured) -> None:
    floors = [(kind, count) for count in ("2", "3") for kind in FLOORS]
    assert list(measured.rows) == [*floors, *((kind, method) for method in METHODS for kind in offers.KINDS)]
    assert measured.inputs == {"linear": 2, "ties": 3}


def test_every_kind_of_merge_gives_the_same_bytes_and_every_verified_copy_those_of_its_input(
    measured: Measured,
) -> None:
    digests = {row: found[0].files.get(FILE) for row, found in measured.rows.items()}
    for method in METHODS:
        assert len({digests[kind, method] for kind in offers.KINDS}) == 1
    assert len({digests[kind, count] for kind in FLOORS[1:] for count in ("2", "3")}) == 1
    assert len({digests["cold", method] for method in METHODS} | {digests["verified copy", "2"]}) == 3


def test_a_run_counts_the_start_of_its_process_and_the_memory_that_it_held(measured: Measured) -> None:
    for found in measured.rows.values():
        assert found[0].cpu >= found[0].work_cpu > 0
        assert found[0].wall >= found[0].work_wall > 0
        assert found[0].resident > found[0].anonymous > 1 << 20
        assert found[0].high_water > 1 << 20


def test_the_report_holds_a_line_for_every_row_and_no_folder_of_this_machine(
    measured: Measured, place: Path
) -> None:
    text = (place / "report.md").read_text()
    for line in ("copy, 2 inputs", "verified copy, 3 inputs", *METHODS, *parts.PARTS, "start"):
        assert f"\n| {line} | " in text
    assert "- command: `python -m tests.bench.engine --size-gb 0.001 " in text
    assert str(place) not in text
    assert [path.name for path in place.iterdir()] == ["report.md"]


def test_the_parts_of_a_profiled_merge_are_all_seen_and_a_copy_has_no_statistics(measured: Measured) -> None:
    copy, merge = (found[0].parts for found in measured.profiles.values())
    assert list(copy) == list(merge) == list(parts.PARTS)
    assert all(merge[part] > 0 for part in parts.PARTS)
    assert copy[parts.STATISTICS] == 0
    assert copy[parts.HASHING] > 0


def test_the_innermost_part_counts() -> None:
    clock = parts.Parts()
    inner = clock.counted(parts.READING, lambda: sum(range(200_000)))
    clock.counted(parts.STATISTICS, inner)()
    found = clock.finish()
    assert found[parts.READING] > found[parts.STATISTICS]


def test_checkpoints_follow_from_their_seed_and_differ_from_each_other(tmp_path: Path) -> None:
    shapes = checkpoints.shapes(engine.TINY_BYTES)
    first, second = (checkpoints.build(tmp_path / name, shapes) for name in ("one", "two"))
    digests = [sha256_file(folder / FILE) for folder in first]
    assert digests == [sha256_file(folder / FILE) for folder in second]
    assert len(set(digests)) == len(checkpoints.NAMES)


@pytest.mark.parametrize(("size", "lowest", "highest"), [(1e6, 0.8, 1.2), (5e7, 0.9, 1.1), (1e9, 0.95, 1.05)])
def test_a_checkpoint_has_about_the_size_asked_for(size: float, lowest: float, highest: float) -> None:
    elements = sum(prod(shape) for shape in checkpoints.shapes(size).values())
    assert lowest * size < 2 * elements < highest * size


def test_a_size_that_the_disk_cannot_hold_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"5 checkpoints of 1e.06 GB need .* GB free in"):
        engine.main([*TINY, "--size-gb", "1e6", "--folder", str(tmp_path), "--out", str(tmp_path / "out.md")])
    assert list(tmp_path.iterdir()) == []


def test_memory_is_told_for_every_size_and_method(tmp_path: Path) -> None:
    words = ["--sizes-gb", "0.001,0.002", "--methods", "linear,slerp", "--folder", str(tmp_path)]
    found = memory.main([*words, "--out", str(tmp_path / "memory.md")])
    assert {size: list(runs) for size, runs in found.items()} == {
        0.001: ["linear", "slerp"],
        0.002: ["linear", "slerp"],
    }
    text = (tmp_path / "memory.md").read_text()
    for method in ("linear", "slerp"):
        told = [
            f"{found[size][method].anonymous >> 20} ({found[size][method].high_water >> 20})"
            for size in found
        ]
        assert f"| {method} | {told[0]} | {told[1]} |" in text
    assert [path.name for path in tmp_path.iterdir()] == ["memory.md"]


def test_ratios_and_spreads_are_those_of_the_medians() -> None:
    slow, fast = ([Run(cpu, cpu, 0, 0, 0) for cpu in figures] for figures in ((9.0, 6.0, 7.0), (2.0, 4.0)))
    assert report.times(slow, fast, lambda run: run.cpu) == "2.33"  # 7 / 3
    assert report.spread(slow, lambda run: run.cpu) == "7.00 (6.00–9.00)"
    assert report.spread(slow[:1], lambda run: run.cpu) == "9.00"


@pytest.mark.skipif(
    not peer.installed(peer.FOLDER), reason="mergekit's environment is made by --peer mergekit"
)
def test_both_tools_merge_the_same_documents(tmp_path: Path) -> None:
    words = [*TINY, "--rounds", "1", "--methods", "none", "--peer", peer.NAME, "--folder", str(tmp_path)]
    beside = engine.main([*words, "--out", str(tmp_path / "report.md")]).beside
    assert beside is not None
    tools = (peer.NAME, peer.OURS, peer.AGAIN)
    assert list(beside.rows) == [(tool, method) for method in peer.METHODS for tool in tools]
    assert list(beside.first) == list(peer.METHODS)
    assert beside.versions[peer.NAME] == "0.1.5"
