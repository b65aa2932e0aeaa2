"""The gate by a real worker, and what a lying one achieves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import LabError, NotIsolated
from stages.core.records.canonical import read_json
from stages.core.sandbox import launch, levels
from stages.core.sandbox.launch import Outcome
from stages.core.sandbox.levels import Isolation
from stages.gate.stage import Places, run
from tests import inside
from tests.gate.test_stage import PARENTS, POLICY, SUITE, judge, laid_out


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return laid_out(tmp_path)


def test_a_worker_gives_the_verdicts_that_the_same_job_gives_unlocked(places: Places) -> None:
    assert judge(places)[-1] == (4, 1, 4), "two parents and two candidates; not every step is told"
    locked, record = places.gates.read_bytes(), read_json(places.record)
    assert record["isolation"]["level"] == levels.choose(Isolation(), creates_files=True)
    assert record["isolation"]["degraded"] is False
    with inside.this_process():
        judge(places)
    assert places.gates.read_bytes() == locked
    assert b"read_outside" not in locked


def test_below_the_minimum_nothing_is_judged(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_no_landlock", lambda: "Landlock: ENOSYS (38) from landlock_create_ruleset")
    with pytest.raises(NotIsolated, match=r"isolation.minimum=L2 .* L2: Landlock: ENOSYS \(38\)"):
        run(SUITE, PARENTS, POLICY, places, lambda *counts: None, isolation=Isolation())
    assert not places.gates.exists()


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another candidate": (lambda part: part.update(candidate="c0ffee000000"), "which nobody asked for"),
    "twice": (lambda part: part.update(candidate="f00000000000"), "which nobody asked for"),
    "no findings": (lambda part: part.update(verdict={"passed": True, "findings": []}), "no verdict"),
    "a text": (lambda part: part.update(verdict="passed"), "no verdict"),
    "a word for yes": (lambda part: part["verdict"]["findings"][0].update(passed="yes"), "no verdict"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_worker_gets_no_verdict_written(
    places: Places, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    change, match = LIES[lie]

    def altered(job: Mapping[str, Any], *, on_part: Any, **options: Any) -> Outcome:
        return inside.run(job, on_part=lambda part: (change(part), on_part(part)), **options)

    monkeypatch.setattr(launch, "run", altered)
    with pytest.raises(LabError, match=match):
        judge(places)
    assert not places.gates.exists()


def test_that_a_worker_says_passed_beside_a_failed_finding_passes_nobody(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def altered(job: Mapping[str, Any], *, on_part: Any, **options: Any) -> Outcome:
        return inside.run(
            job, on_part=lambda part: (part["verdict"].update(passed=True), on_part(part)), **options
        )

    monkeypatch.setattr(launch, "run", altered)
    assert judge(places)[-1] == (4, 1, 4)
    assert read_json(places.gates)["candidates"]["0bad00000000"]["passed"] is False
