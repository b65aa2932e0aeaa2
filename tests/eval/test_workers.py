"""Evaluation by real workers: the bytes, what they may read, how they end, and what a lying one achieves."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import NotIsolated, WorkerFailed
from stages.core.records.canonical import read_json
from stages.core.sandbox import launch, levels
from stages.core.sandbox.launch import Outcome
from stages.core.sandbox.levels import Isolation
from stages.eval import stage
from stages.eval.suites import SPLITS
from stages.eval.workers import Workers
from tests.core.sandbox.scene import jobs_of
from tests.core.sandbox.test_launch import HERE as SANDBOX
from tests.core.sandbox.test_launch import children
from tests.eval.toy import PARENTS, ROUNDED, SUITE, elsewhere, evaluate, outputs, toy
from tests.inside import this_process

Readable = dict[str, list[Path]]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> stage.Places:
    return toy(tmp_path_factory.mktemp("workers"))


@pytest.fixture(scope="module")
def readable(places: stage.Places) -> Readable:
    """Kind of job → what its worker could read, after a whole evaluation by real workers."""
    seen: Readable = {}
    real = launch.run

    def watch(job: Mapping[str, Any], **options: Any) -> Outcome:
        seen[job["kind"]] = list(options["readable"])
        assert not options.get("writable"), "an evaluation writes nothing but its scratch folder"
        return real(job, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "run", watch)
        evaluate(places, suite=ROUNDED)
    return seen


def test_a_worker_gives_the_bytes_that_the_same_job_gives_unlocked(
    places: stage.Places, readable: Readable, tmp_path: Path
) -> None:
    unlocked = elsewhere(places, tmp_path)
    with this_process():
        evaluate(unlocked, suite=ROUNDED)
    assert outputs(places) == outputs(unlocked)


def test_an_evaluating_worker_reads_exactly_its_cases_and_artifacts(
    places: stage.Places, readable: Readable
) -> None:
    artifacts = [places.parents / name for name in ("base", "a", "b")] + [places.candidates / "c00000000000"]
    cases = [places.cases / split for split in SPLITS]
    assert set(readable["evaluate"]) == {path.resolve() for path in (*artifacts, *cases, places.forms)}
    assert set(readable["fit"]) == {
        path.resolve() for path in (places.parents / "a", places.parents / "b", places.cases / "search")
    }
    rounded = {*artifacts[1:], places.cases / "hidden", places.forms}
    assert set(readable["quantise"]) == {path.resolve() for path in rounded}
    assert set(readable["latency"]) == {path.resolve() for path in artifacts[1:]}


def test_the_run_record_names_the_level_and_the_proof_and_no_output_does(
    places: stage.Places, readable: Readable
) -> None:
    record = read_json(places.record)
    assert record["level"] == levels.choose(Isolation(), creates_files=True)
    assert [worker["kind"] for worker in record["workers"]] == ["fit", "evaluate", "quantise", "latency"]
    assert all(worker["isolation"]["probes"]["read_outside"] == "denied" for worker in record["workers"])
    assert all(worker["run"]["peak_rss_bytes"] > 1 << 26 for worker in record["workers"])
    assert not any(b"read_outside" in data for data in outputs(places).values())


def test_the_worker_that_fits_cannot_read_hidden_cases_nor_name_them_at_l3(
    places: stage.Places, readable: Readable, level: str
) -> None:
    hidden, search = (next((places.cases / split).iterdir()).resolve() for split in ("hidden", "search"))
    with jobs_of(SANDBOX / "misdeeds.py"):
        seen = Workers(Isolation(level)).run(
            {"kind": "look", "paths": [str(hidden), str(search), str(places.cases / "hidden")]},
            readable=readable["fit"],
            subjects=1,
        )
    outside = {"L2": "named", "L3": "nothing"}[level]
    assert list(seen.values()) == [outside, "read", outside]


def test_an_interrupt_keeps_what_was_answered_and_leaves_no_worker(
    places: stage.Places, readable: Readable, tmp_path: Path
) -> None:
    broken = elsewhere(places, tmp_path)
    [fitted] = [path for path in places.store.iterdir() if "weights" in read_json(path)]
    broken.store.mkdir(parents=True)
    (broken.store / fitted.name).write_bytes(fitted.read_bytes())

    def interrupt(done: int, rejected: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(ROUNDED, PARENTS, broken, Workers(), interrupt)
    assert not children()
    assert not broken.evidence.exists()
    assert len(list(broken.store.iterdir())) == 1 + 4, "the weights, and four splits of one subject"
    with this_process():
        assert evaluate(broken, suite=ROUNDED)[0] == (1, 0, 7)
    assert outputs(broken) == outputs(places)


def test_below_the_minimum_nobody_is_evaluated(
    places: stage.Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "_no_bubblewrap", lambda: "bubblewrap: ENOENT (2) at /usr/bin/bwrap")
    untouched = elsewhere(places, tmp_path)
    with pytest.raises(NotIsolated, match=r"isolation.minimum=L3 .* L3: bubblewrap: ENOENT \(2\)") as caught:
        stage.run(SUITE, PARENTS, untouched, Workers(Isolation("auto", "L3")), lambda *counts: None)
    assert "\n" not in str(caught.value)
    assert not untouched.evidence.exists()
    assert not untouched.store.exists()


def forged(change: Callable[[dict[str, Any]], object]) -> Callable[..., Outcome]:
    """launch.run whose worker alters the first part that it gives."""
    from tests import inside

    def run(job: Mapping[str, Any], *, on_part: Any = None, **options: Any) -> Outcome:
        altered = []

        def take(part: dict[str, Any]) -> None:
            if not altered:
                altered.append(change(part))
            on_part(part)

        return inside.run(job, on_part=on_part and take, **options)

    return run


def first_task(part: dict[str, Any]) -> dict[str, Any]:
    return next(iter(next(iter(part["answers"].values())).values()))


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "somebody else": (lambda part: part.update(subject="d00000000000"), "'d00000000000', which nobody asked"),
    "no name": (lambda part: part.update(subject=["base"]), "which nobody asked"),
    "fewer cases": (lambda part: first_task(part).update(
                        correct="1", loglikelihood=[0.0], answer_tokens=[1], measures={}),
                    "other cases than it was asked"),
    "fewer splits": (lambda part: part["answers"].popitem(), "other cases than it was asked"),
    "no finite number": (lambda part: first_task(part)["loglikelihood"].__setitem__(0, float("inf")),
                         "not with numbers"),
    "no number": (lambda part: first_task(part)["loglikelihood"].__setitem__(0, "1"), "gave no answers"),
    "no answers": (lambda part: part.update(answers=[1]), "gave no answers"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_worker_is_refused_and_nothing_of_the_lie_is_kept(
    places: stage.Places, readable: Readable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    change, match = LIES[lie]
    deceived = elsewhere(places, tmp_path)
    monkeypatch.setattr(launch, "run", forged(change))
    with pytest.raises(WorkerFailed, match=match):
        evaluate(deceived)
    assert not deceived.evidence.exists()
    assert len(list(deceived.store.iterdir())) == 1, "the fitted weights alone"


def test_a_worker_that_leaves_a_subject_out_is_refused(
    places: stage.Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests import inside

    def run(job: Mapping[str, Any], **options: Any) -> Outcome:
        if job["kind"] == "evaluate":
            job = {**job, "subjects": job["subjects"][:-1]}
        return inside.run(job, **options)

    monkeypatch.setattr(launch, "run", run)
    with pytest.raises(WorkerFailed, match="left out c00000000000"):
        evaluate(elsewhere(places, tmp_path))


@pytest.mark.parametrize("weights", [[1.0], [0.75, 0.5], [1.5, -0.5], ["1", "0"], None])
def test_weights_that_are_none_are_refused(
    places: stage.Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: object
) -> None:
    monkeypatch.setattr(launch, "run", lambda job, **options: Outcome({"weights": weights}, {}, {}))
    with pytest.raises(WorkerFailed, match="gave no 2 weights of sum 1"):
        evaluate(elsewhere(places, tmp_path))


def test_no_secret_of_this_process_reaches_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    with jobs_of(SANDBOX / "misdeeds.py"):
        seen = Workers().run({"kind": "surroundings"}, readable=[], subjects=1)
    assert "hunter2" not in str(seen)
    assert os.environ["HF_TOKEN"] == "hunter2"
