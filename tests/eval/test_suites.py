import shutil
from pathlib import Path

import pytest
import yaml

from stages.compose import compose
from stages.conf import Suite
from stages.core.errors import BadRequest
from stages.core.scoring.skills import KINDS, PICO, SKILLS
from stages.eval.suites import answered, describe, plan, suite_digest
from tests.eval.toy import FORMS, SUITE, TASKS

ROOT = Path(__file__).parents[2]


def suite(**changed: object) -> Suite:
    return Suite.model_validate(SUITE.model_dump() | changed)


@pytest.mark.parametrize("name", ["shipped", "smoke"])
def test_the_suites_of_the_shipped_parents_cover_every_skill_with_its_kind(name: str) -> None:
    found = Suite.model_validate(yaml.safe_load(compose(ROOT, [f"suite={name}"]).text)["suite"])
    assert [task.skill for task in plan(found).values()] == [skill.name for skill in PICO]
    assert {task.kind for task in plan(found).values()} == set(KINDS)
    niches = {task["kind"]: task["parent"] for task in describe(found).values() if task["parent"]}
    assert niches == {"niche:a": "pico-a", "niche:b": "pico-b"}
    assert set(found.tasks) - set(answered(found)) == {"canary", "recital"}


def test_every_unknown_skill_and_wrong_kind_is_reported_at_once() -> None:
    wrong = suite(
        tasks=TASKS | {"x": {"skill": "sing", "kind": "shared"}, "y": {"skill": "sort", "kind": "tool"}}
    )
    with pytest.raises(BadRequest, match="sing") as caught:
        plan(wrong)
    assert len(caught.value.problems) == 2
    assert caught.value.problems[1] == "suite.tasks.y.kind: skill 'sort' is of kind 'niche:b', got 'tool'"


def test_a_task_may_override_the_number_of_items() -> None:
    name = next(iter(TASKS))
    items = {"calibration": 5, "search": 1, "selection": 2, "hidden": 3}
    counts = plan(suite(tasks=TASKS | {name: TASKS[name] | {"items": items}}))
    assert [counts[task].items["calibration"] for task in TASKS] == [5, 3, 3]
    assert [counts[task].items["hidden"] for task in TASKS] == [3, 6, 6]


def test_the_digest_moves_with_the_suite_the_task_file_and_the_scorer(tmp_path: Path) -> None:
    shutil.copytree(FORMS, tmp_path / "forms")
    with (tmp_path / "forms/exact_answer.yaml").open("a") as stream:
        stream.write("# a remark\n")
    items = {"calibration": 3, "search": 4, "selection": 2, "hidden": 7}
    digests = {
        suite_digest(SUITE, FORMS, 1),
        suite_digest(suite(version=2), FORMS, 1),
        suite_digest(suite(items=items), FORMS, 1),
        suite_digest(SUITE, FORMS, 2),
        suite_digest(SUITE, tmp_path / "forms", 1),
    }
    assert len(digests) == 5
    assert suite_digest(SUITE, FORMS, 1) == suite_digest(suite(), FORMS, 1)


def test_the_digest_moves_with_a_skills_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = suite_digest(SUITE, FORMS, 1)
    newer = {
        skill.name: type(skill)(skill.name, skill.kind, 99, skill.description, skill.make) for skill in SKILLS
    }
    monkeypatch.setattr("stages.eval.suites.skill_named", newer.__getitem__)
    assert suite_digest(SUITE, FORMS, 1) != before
