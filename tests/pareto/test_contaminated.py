"""A task that a parent saw in training is reported like any other, and no outcome rests on it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from stages.core.records.canonical import read_json, write_json
from stages.core.records.terms import KEY
from stages.pareto.__main__ import run
from stages.pareto.outcomes import Outcome, decide
from stages.pareto.report.markdown import markdown
from stages.pareto.results import results
from stages.pareto.study import load
from stages.pareto.trial import Trial, trial
from tests.pareto.laboratory import EXPERIMENT, Merge, build, policy, skill

GOOD = Merge("ties", "good", skill(0.93, 0.94))
GREEDY = Merge("linear", "greedy", skill(0.97, 0.97, upper=0.31))


def judged(
    tmp_path: Path, contaminated: Sequence[str], *, passed: bool = True
) -> tuple[Trial, dict[str, Outcome]]:
    """The study of a good merge and of one that lost a rare skill, with tasks named as seen in training."""
    data = build(tmp_path, [GOOD, GREEDY])
    verdict = read_json(data / "eligibility.json")
    write_json(
        data / "eligibility.json", verdict | {"passed": passed, KEY: {"contaminated": list(contaminated)}}
    )
    found = trial(load(data, EXPERIMENT), policy(front={"bootstrap": 400}))
    return found, {found.label(one): outcome for one, outcome in decide(found).items()}


def test_a_loss_on_a_task_seen_in_training_rejects_nobody(tmp_path: Path) -> None:
    assert judged(tmp_path / "clean", [])[1]["greedy"].rule == "lost"
    found, outcomes = judged(tmp_path / "seen", ["upper"])
    assert outcomes["greedy"].name != "rejected"
    assert {check.state for check in found.checks[GREEDY.id] if check.task == "upper"} == {"measured"}


def test_its_accuracy_is_reported_all_the_same(tmp_path: Path) -> None:
    found, _ = judged(tmp_path, ["upper"])
    assert found.standing(GREEDY.id).tasks["upper"].value == pytest.approx(0.31, abs=0.1)
    text = markdown(results(found))
    assert (
        "Seen in training by a model of the family, so reported and no reason for an outcome: upper." in text
    )
    assert "| rare skill upper |" in text


def test_the_page_marks_its_column(tmp_path: Path) -> None:
    judged(tmp_path, ["upper"])
    run(EXPERIMENT, policy(front={"bootstrap": 400}), tmp_path, tmp_path / "reports")
    text = (tmp_path / "reports/report.html").read_text()
    assert text.count("seen in training: no reason") == 1


def test_a_niche_task_seen_in_training_is_no_objective(tmp_path: Path) -> None:
    found, _ = judged(tmp_path, ["sort"])
    assert [parent for parent, _ in found.study.niches] == ["pico-a"]
    assert "sort" in found.standing(GOOD.id).tasks


def test_where_eligibility_refused_every_task_still_describes_the_baselines(tmp_path: Path) -> None:
    found, _ = judged(tmp_path, ["sort", "recall"], passed=False)
    assert [parent for parent, _ in found.study.niches] == ["pico-a", "pico-b"]


def test_a_report_without_contaminated_tasks_does_not_speak_of_them(tmp_path: Path) -> None:
    assert "Seen in training" not in markdown(results(judged(tmp_path, [])[0]))
