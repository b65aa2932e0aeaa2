"""The benchmark itself runs, on checkpoints of a few kilobytes; no time is judged."""

from pathlib import Path

import pytest

from tests.bench import engine


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_the_benchmark_prints_a_row_for_every_floor_and_method(tmp_path: Path, backend: str) -> None:
    words = [
        "--size-gb",
        "0.001",
        "--repeat",
        "1",
        "--methods",
        "linear,task_arithmetic",
        "--backend",
        backend,
    ]
    engine.main(
        [*words, "--backend", backend, "--folder", str(tmp_path), "--out", str(tmp_path / "report.md")]
    )
    text = (tmp_path / "report.md").read_text()
    for row in ("copy 2", "verified 3", "linear", "task_arithmetic", "linear, in place"):
        assert f"\n| {row} | " in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
