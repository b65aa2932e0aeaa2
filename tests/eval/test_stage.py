import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core.errors import BadCheckpoint, LabError
from stages.core.records import evidence
from stages.core.records.canonical import read_json, write_json
from stages.core.sandbox import launch
from stages.core.sandbox.levels import Isolation
from stages.core.scoring import latency
from stages.core.scoring.harness import Harness
from stages.core.scoring.work import fit
from stages.eval import answers, stage, workers
from stages.eval.baselines import parent
from stages.eval.workers import Workers
from tests.core.scoring.tiny import CHARACTERS, seal, tiny, write_tokenizer
from tests.eval.toy import PARENTS, SUITE, TASKS, add_candidate, elsewhere, evaluate, outputs, toy
from tests.inside import this_process

ENTRANTS = ["base", "a", "b", "ensemble-uniform", "ensemble-weighted", "ensemble-logit", "c00000000000"]
DERIVED = ["ensemble-max-confidence", "router", "cascade", "router-oracle"]
SUBJECTS = [*ENTRANTS[:-1], *DERIVED, ENTRANTS[-1]]


@pytest.fixture(autouse=True)
def in_this_process() -> Iterator[None]:
    """Not through `monkeypatch`: it would undo what a test sets after this has ended, and leave it set."""
    with pytest.MonkeyPatch.context() as patch, this_process():
        for name, few in (("ROUNDS", 2), ("TOKENS", 1), ("PROMPT", 2)):
            patch.setattr(latency, name, few)
        yield


@pytest.fixture
def places(tmp_path: Path) -> stage.Places:
    return toy(tmp_path)


def test_everyone_but_the_rejected_answers_every_case(places: stage.Places) -> None:
    assert evaluate(places)[-1] == (7, 0, 7)
    index = read_json(places.evidence / "index.json")
    assert index["subjects"] == SUBJECTS
    assert index["refused"] is None
    assert index["ensembles"]["ensemble-uniform"] == {"a": 0.5, "b": 0.5}
    assert list(index["derived"]) == sorted(DERIVED)
    assert list(index["costs"]) == sorted(SUBJECTS)
    assert index["left_out"] == {}
    for name in SUBJECTS:
        found = evidence.load(places.evidence / f"{name}.json")
        assert found.suite_digest == index["suite"]["digest"]
        assert list(found.results) == ["calibration", "hidden", "search", "selection"]  # files are sorted
        assert all(list(tasks) == sorted(TASKS) for tasks in found.results.values())
        assert {len(task.correct) for task in found.results["hidden"].values()} == {6}
    kinds = [evidence.load(places.evidence / f"{name}.json").subject.kind for name in SUBJECTS]
    derived = ["ensemble", "router", "cascade", "bound"]
    assert kinds == ["base", "parent", "parent", *3 * ["ensemble"], *derived, "candidate"]


def test_an_ensemble_costs_one_pass_per_member_with_weight(places: stage.Places) -> None:
    evaluate(places)
    weights = read_json(places.evidence / "index.json")["ensembles"]
    for name, members in weights.items():
        subject = evidence.load(places.evidence / f"{name}.json").subject
        assert subject.passes == subject.models == len(members)


def test_workers_and_repetition_change_no_byte(places: stage.Places, tmp_path: Path) -> None:
    evaluate(places)
    second = elsewhere(places, tmp_path / "second")
    evaluate(second, workers=2)
    assert outputs(second) == outputs(places)


def test_an_evaluation_killed_half_way_goes_on_and_ends_the_same(
    places: stage.Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(places)
    broken = elsewhere(places, tmp_path / "broken")
    real = Harness.answers
    calls = []

    def dies_from_the_tenth(self: Harness, *subject: object) -> object:
        calls.append(subject)
        if len(calls) >= 10:
            raise KeyboardInterrupt
        return real(self, *subject)

    monkeypatch.setattr(Harness, "answers", dies_from_the_tenth)
    with pytest.raises(KeyboardInterrupt):
        evaluate(broken)
    assert not broken.evidence.exists()
    calls.clear()
    monkeypatch.setattr(Harness, "answers", lambda *call: calls.append(call) or real(*call))
    assert evaluate(broken)[0] == (2, 0, 7)
    assert len(calls) == 4 * 5, "two subjects were whole: neither is scored again"
    assert outputs(broken) == outputs(places)


def test_nothing_is_scored_twice(places: stage.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(places)
    first = outputs(places)
    monkeypatch.setattr(Harness, "answers", lambda *call: pytest.fail("scored again"))
    assert evaluate(places) == [(7, 0, 7)]
    assert outputs(places) == first


def test_one_more_candidate_means_new_hidden_cases_and_the_other_splits_are_kept(
    places: stage.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(places)
    before = outputs(places)
    seed = read_json(places.evidence / "index.json")["hidden"]["seed"]
    add_candidate(places, "e00000000000", 1.1)
    asked: list[object] = []
    real = Harness.answers
    monkeypatch.setattr(Harness, "answers", lambda *call: asked.append(call) or real(*call))
    evaluate(places)
    after = outputs(places)
    assert read_json(places.evidence / "index.json")["hidden"]["seed"] != seed
    task = next(iter(TASKS))
    assert after[f"cases/hidden/{task}.jsonl"] != before[f"cases/hidden/{task}.jsonl"]
    assert after[f"cases/search/{task}.jsonl"] == before[f"cases/search/{task}.jsonl"]
    assert len(asked) == 7 + 4, "the hidden split of seven subjects, four splits of the new one"


@pytest.mark.parametrize("spoil", ["", "{}", '{"schema": "mergelab/evidence/2"}', "[]"])
def test_a_broken_file_in_the_store_is_scored_again(places: stage.Places, spoil: str) -> None:
    evaluate(places)
    first = outputs(places)
    for path in places.store.iterdir():
        path.write_text(spoil)
    evaluate(places)
    assert outputs(places) == first


@pytest.mark.parametrize("whose", ["parents/base", "parents/b", "candidates/c00000000000"])
def test_one_altered_byte_stops_the_stage(places: stage.Places, whose: str) -> None:
    weights = places.gates.parent / whose / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BadCheckpoint, match="changed: expected sha256"):
        evaluate(places)
    assert not places.evidence.exists()


def test_a_candidate_that_is_not_the_one_in_the_index_stops_the_stage(places: stage.Places) -> None:
    folder = places.candidates / "c00000000000"
    shutil.rmtree(folder)
    shutil.copytree(places.parents / "b", folder)
    with pytest.raises(BadCheckpoint, match="expected artifact"):
        evaluate(places)


def test_a_candidate_that_the_gate_never_saw_is_not_evaluated(places: stage.Places) -> None:
    write_json(places.gates, {"candidates": {"c00000000000": {"passed": True, "findings": []}}})
    with pytest.raises(LabError, match="no verdict on d00000000000"):
        evaluate(places)


def test_a_refused_merge_still_compares_base_parents_and_ensembles(places: stage.Places) -> None:
    write_json(places.candidates / "index.json", {"refused": "licences do not allow it", "candidates": []})
    write_json(places.gates, {"candidates": {}})
    evaluate(places)
    assert read_json(places.evidence / "index.json")["subjects"] == SUBJECTS[:-1]


@pytest.mark.parametrize("what", ["tokenizer", "architecture"])
def test_a_family_that_cannot_share_an_evaluator_has_no_subjects_and_a_reason(
    places: stage.Places, what: str
) -> None:
    shutil.rmtree(places.parents / "b")
    if what == "architecture":
        tiny(places.parents / "b", 2, num_hidden_layers=1)
    else:
        write_tokenizer(tiny(places.parents / "b", 2), CHARACTERS[::-1])
        seal(places.parents / "b")
    write_json(places.candidates / "index.json", {"refused": f"other {what}", "candidates": []})
    evaluate(places)
    index = read_json(places.evidence / "index.json")
    assert index["subjects"] == []
    assert f"the {what}s of base and b differ" in index["refused"]


def test_ensemble_weights_are_fitted_on_the_search_split_and_nothing_else(
    places: stage.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(places)
    opened: list[Path] = []
    real = fit.read_cases
    monkeypatch.setattr(fit, "read_cases", lambda path: opened.append(path) or real(path))
    family = [parent(places.parents, name) for name in PARENTS.merge]
    job = fit.request([(member.folder, member.digest) for member in family], places.cases / "search", TASKS)
    weights = fit.run(job, lambda done, total: None)["weights"]
    assert sorted(opened) == sorted(path.resolve() for path in (places.cases / "search").iterdir())
    assert weights == list(
        read_json(places.evidence / "index.json")["ensembles"]["ensemble-weighted"].values()
    )
    shutil.rmtree(places.cases / "hidden")
    shutil.rmtree(places.cases / "selection")
    assert fit.run(job, lambda done, total: None)["weights"] == weights


def test_ensemble_weights_are_not_fitted_on_a_task_that_a_parent_saw_in_training(
    places: stage.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = sorted(TASKS)
    opened: list[str] = []
    real = fit.read_cases
    monkeypatch.setattr(fit, "read_cases", lambda path: opened.append(path.stem) or real(path))
    workers = Workers(Isolation("L0", "L0"))
    stage.run(SUITE, PARENTS, places, workers, lambda *counts: None, contaminated=frozenset({first}))
    assert opened == others


def test_a_worker_renders_the_requests_of_a_split_once_for_all_its_subjects(
    places: stage.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[str] = []
    real = Harness.__init__

    def render(self: Harness, cases: Path, *rest: object) -> None:
        rendered.append(cases.name)
        real(self, cases, *rest)

    monkeypatch.setattr(Harness, "__init__", render)
    evaluate(places)
    assert sorted(rendered) == ["calibration", "hidden", "search", "selection"]


def test_subjects_are_dealt_to_as_few_workers_as_their_number_allows(
    places: stage.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PER_WORKER", 4)
    dealt: list[int] = []
    real = answers._ask
    monkeypatch.setattr(answers, "_ask", lambda unit, *rest: dealt.append(len(unit)) or real(unit, *rest))
    evaluate(places)
    assert dealt == [4, 3], "seven subjects, at most four to a worker"


def test_large_subjects_are_dealt_to_all_workers_that_may_run_at_once(
    places: stage.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    dealt: list[int] = []
    real = answers._ask
    monkeypatch.setattr(answers, "_ask", lambda unit, *rest: dealt.append(len(unit)) or real(unit, *rest))
    evaluate(places)
    alone = outputs(places)
    shutil.rmtree(places.store)
    monkeypatch.setattr(workers, "LARGE", 1)
    evaluate(places, workers=3)
    assert sorted(dealt) == [2, 2, 3, 7]
    assert outputs(places) == alone


def test_weights_that_were_fitted_once_are_not_fitted_again_unless_their_file_is_spoilt(
    places: stage.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(places)
    first = outputs(places)
    asked: list[str] = []
    real = launch.run
    monkeypatch.setattr(launch, "run", lambda job, **rest: asked.append(job["kind"]) or real(job, **rest))
    evaluate(places)
    assert asked == []
    [kept] = [path for path in places.store.iterdir() if "weights" in read_json(path)]
    kept.write_text('{"weights": [0.75, 0.5]}')
    evaluate(places)
    assert asked == ["fit"]
    assert outputs(places) == first


def test_evidence_of_another_level_of_isolation_is_no_evidence_here(
    places: stage.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int, int]] = []
    for level in ("L0", "L2"):
        workers = Workers(Isolation(level, "L0"))
        stage.run(SUITE, PARENTS, places, workers, lambda *counts: told.append(counts))
    assert told.count((7, 0, 7)) == 2
    assert told.count((1, 0, 7)) == 2, "everybody was asked again"
