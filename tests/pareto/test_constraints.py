"""Kept, unproven, lost, measured: each state where it belongs, against the parent that the policy names."""

from pathlib import Path

import pytest

from stages.core.records.canonical import read_json, write_json
from stages.pareto.constraints import Check, checks, reference_of
from stages.pareto.measure import measure
from stages.pareto.study import Study, load
from tests.pareto.laboratory import BASELINES, EXPERIMENT, Merge, build, policy, skill

SUBJECT = Merge("ties", "subject", skill(0.9, 0.9))


def answered(tmp_path: Path, task: str, mine: str, a: str, b: str) -> Study:
    """A study in which the subject and both parents answered one task exactly like this."""
    data = build(tmp_path, [SUBJECT])
    for name, answers in ((SUBJECT.id, mine), ("pico-a", a), ("pico-b", b)):
        path = data / "evidence" / f"{name}.json"
        tree = read_json(path)
        tree["results"]["hidden"][task]["correct"] = answers
        write_json(path, tree)
    return load(data, EXPERIMENT)


def verdict(study: Study, task: str, name: str = "default") -> Check:
    chosen = policy(name, front={"bootstrap": 200})
    found = checks(study, measure(study, chosen), [SUBJECT.id], chosen)[SUBJECT.id]
    return next(one for one in found if one.task == task)


def test_a_skill_answered_as_the_parents_do_is_kept(tmp_path: Path) -> None:
    right = "1" * 120
    found = verdict(answered(tmp_path, "tool_call", right, right, right), "tool_call")
    assert (found.state, found.paired.gains, found.paired.losses) == ("kept", 0, 0)


def test_losing_more_than_the_margin_beyond_chance_is_lost(tmp_path: Path) -> None:
    right = "1" * 120
    found = verdict(answered(tmp_path, "tool_call", "0" * 20 + "1" * 100, right, right), "tool_call")
    assert (found.state, found.paired.losses) == ("lost", 20)
    assert found.paired.difference == pytest.approx(-20 / 120)
    assert found.rejects(policy())


def test_a_shown_loss_within_the_margin_is_not_called_lost(tmp_path: Path) -> None:
    right = "1" * 120  # 8 losses of 120: p = 2^-8, but 0.067 is inside the margin of 0.10
    found = verdict(answered(tmp_path, "tool_call", "0" * 8 + "1" * 112, right, right), "tool_call")
    assert found.state == "unproven"
    assert found.paired.loss_p < 0.01
    assert not found.rejects(policy())
    assert found.rejects(policy("strict"))


def test_a_large_difference_that_may_be_chance_is_unproven(tmp_path: Path) -> None:
    # 20 losses and 13 gains of 60: difference −0.117, one-sided p 0.15
    mine = "0" * 20 + "1" * 40
    theirs = "1" * 20 + "0" * 13 + "1" * 27
    found = verdict(answered(tmp_path, "passkey", mine, theirs, theirs), "passkey")
    assert found.paired.difference < -0.10
    assert (found.state, found.rejects(policy())) == ("unproven", False)


def test_the_worse_parent_is_the_reference_where_the_policy_says_so(tmp_path: Path) -> None:
    study = answered(tmp_path, "copy", "1" * 120, "1" * 120, "1" * 110 + "0" * 10)
    task = next(task for task in study.tasks if task.name == "copy")
    assert reference_of(study, task, policy()) == "pico-b"
    assert reference_of(study, task, policy("strict")) == "pico-a"


def test_of_equally_good_parents_the_first_is_the_reference(tmp_path: Path) -> None:
    study = answered(tmp_path, "copy", "1" * 120, "1" * 120, "1" * 120)
    task = next(task for task in study.tasks if task.name == "copy")
    assert reference_of(study, task, policy()) == "pico-a"


def test_a_niche_is_measured_against_its_own_parent_and_is_no_constraint(tmp_path: Path) -> None:
    study = load(build(tmp_path, [SUBJECT]), EXPERIMENT)
    niche = next(task for task in study.tasks if task.name == "sort")
    assert reference_of(study, niche, policy()) == "pico-b"
    chosen = policy(front={"bootstrap": 100})
    found = checks(study, measure(study, chosen), [SUBJECT.id], chosen)[SUBJECT.id]
    tasks = {one.task for one in found}
    assert tasks == {task.name for task in study.tasks} - {"recall", "sort"}


def test_a_skill_is_called_by_its_kind_and_its_name_once(tmp_path: Path) -> None:
    study = load(build(tmp_path, [SUBJECT]), EXPERIMENT)
    assert verdict(study, "upper").skill == "rare skill upper"
    assert verdict(study, "refusal").skill == "refusal"


def test_tasks_are_listed_niches_first_then_by_kind(tmp_path: Path) -> None:
    study = load(build(tmp_path, [SUBJECT]), EXPERIMENT)
    assert [task.name for task in study.tasks] == [
        "recall", "sort", "copy", "reverse", "upper", "turn", "refusal", "passkey", "tool_call",
        "recall_longer", "lend",
    ]  # fmt: skip
    assert [parent for parent, _ in study.niches] == ["pico-a", "pico-b"]
    assert study.of_kind("ensemble") == [name for name in BASELINES if name.startswith("ensemble")]
