"""What the stage makes of a rounding worker: what it asks, what it keeps, and what a lying one achieves."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import WorkerFailed
from stages.core.progress import Report, silent
from stages.core.records.evidence import Subject
from stages.core.records.quantised import Quantised
from stages.core.sandbox import launch
from stages.core.sandbox.launch import Outcome
from stages.core.sandbox.levels import Isolation
from stages.eval.answers import Split
from stages.eval.baselines import Entrant, parent, single
from stages.eval.rounding import quantised
from stages.eval.store import EvidenceStore
from stages.eval.workers import Workers
from tests import inside
from tests.core.scoring.tiny import item, tiny, write_split
from tests.eval.toy import FORMS

TASKS = ("one", "two")
FORM_OF = dict.fromkeys((*TASKS, "no_niche"), "exact_answer")
Scene = tuple[list[Entrant], Split]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    root = tmp_path_factory.mktemp("rounding")
    kinds = {"base": "base", "a": "parent", "c": "candidate"}
    for seed, name in enumerate(kinds):
        tiny(root / name, seed)
    entrants = [single(parent(root, name), kind, name) for name, kind in kinds.items()]
    cases = {task: [item(f"{task} {at}>", "ab\n") for at in range(3)] for task in FORM_OF}
    folder = write_split(root / "hidden", cases)
    return entrants, Split("hidden", "cases", dict.fromkeys(FORM_OF, 3), folder, FORMS, FORM_OF)


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    with inside.this_process():
        yield


def ask(
    scene: Scene, store: Path, widths: tuple[str, ...] = ("int4",), report: Report = silent
) -> dict[str, Quantised]:
    entrants, split = scene
    workers, kept = Workers(Isolation("L0", "L0")), EvidenceStore(store)
    return quantised(entrants, split, TASKS, widths, store=kept, workers=workers, report=report)


def test_every_model_is_told_when_it_is_kept_and_none_that_was_known(scene: Scene, tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    for _ in range(2):
        ask(scene, tmp_path, report=lambda *counts: told.append(counts))
    assert told == [(1, 0, 2), (2, 0, 2)]


def test_parents_and_candidates_are_rounded_on_the_tasks_named_and_nobody_else(
    scene: Scene, tmp_path: Path
) -> None:
    found = ask(scene, tmp_path, ("int4", "int8"))
    assert list(found) == ["a", "c"]
    for one in found.values():
        assert list(one.answers) == ["int8", "int4"]
        assert all(list(tasks) == list(TASKS) for tasks in one.answers.values())
        coarse, fine = one.answers["int4"], one.answers["int8"]
        assert all(coarse[task].kl > fine[task].kl > 0 for task in TASKS)


def test_what_was_rounded_once_is_not_rounded_again_unless_its_file_is_spoilt(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ask(scene, tmp_path)
    asked: list[list[str]] = []
    real = launch.run

    def watch(job: Mapping[str, Any], **options: Any) -> Outcome:
        asked.append([name for name, _, _ in job["subjects"]])
        return real(job, **options)

    monkeypatch.setattr(launch, "run", watch)
    assert ask(scene, tmp_path) == first
    assert asked == []
    for path, text in zip(sorted(tmp_path.iterdir()), ("{}", '{"kept": {"int4": {}}}'), strict=True):
        path.write_text(text)
    assert ask(scene, tmp_path) == first
    assert asked == [["a", "c"]]
    ask(scene, tmp_path, ("int8",))
    assert len(asked) == 2, "other widths are another question"


def test_without_a_width_no_worker_starts(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "run", lambda *job, **rest: pytest.fail("started"))
    assert ask(scene, tmp_path, ()) == {}


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "somebody else": (lambda part: part.update(subject="base"), "'base', which nobody asked"),
    "fewer cases": (
        lambda part: part["quantised"]["int4"]["one"].update(correct="1"),
        "answered other cases",
    ),
    "fewer tasks": (lambda part: part["quantised"]["int4"].pop("two"), "answered other cases"),
    "another width": (lambda part: part["quantised"].update(int8={}), "answered other cases"),
    "no number": (lambda part: part["quantised"]["int4"]["one"].update(kl=None), "gave no entry"),
    "infinite": (lambda part: part["quantised"]["int4"]["one"].update(kl=1e999), "gave no entry"),
    "no entry": (lambda part: part.update(quantised=None), "gave no entry"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_worker_is_refused_and_nothing_of_the_lie_is_kept(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    change, match = LIES[lie]

    def run(job: Mapping[str, Any], *, on_part: Any, **options: Any) -> Outcome:
        def lied(part: dict[str, Any]) -> None:
            change(part)
            on_part(part)

        teller = inside.Teller(lied)
        return Outcome(inside.jobs.find(job["kind"])(dict(job), teller), {"level": "none"}, {})

    monkeypatch.setattr(launch, "run", run)
    with pytest.raises(WorkerFailed, match=match):
        ask(scene, tmp_path / "store")
    assert not list(tmp_path.rglob("*.json"))


def test_a_worker_that_leaves_a_model_out_is_refused(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = launch.run
    monkeypatch.setattr(
        launch, "run", lambda job, **rest: real({**job, "subjects": job["subjects"][:1]}, **rest)
    )
    with pytest.raises(WorkerFailed, match="left out c"):
        ask(scene, tmp_path)


def test_an_ensemble_is_not_rounded(scene: Scene, tmp_path: Path) -> None:
    entrants, split = scene
    mean = Entrant(Subject("mean", "ensemble", "", "", 2, 2), tuple(one.members[0] for one in entrants))
    assert ask(([mean], split), tmp_path) == {}
