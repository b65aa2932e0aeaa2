from pathlib import Path

import pytest

from stages.core.errors import LabError
from stages.core.scoring.cases import TaskPlan, cases_digest, draw_cases, read_cases, write_cases
from stages.core.scoring.skills import SKILLS
from tests.core.scoring.tiny import item

FORMS = Path("conf/suite/lm_eval")


def test_cases_come_back_from_their_file_as_they_were_drawn(tmp_path: Path) -> None:
    plan = {
        "first": TaskPlan(SKILLS[0].name, {"search": 5}),
        "last": TaskPlan(SKILLS[-1].name, {"search": 4}),
    }
    cases = draw_cases(plan, "search", 7)
    write_cases(tmp_path, cases)
    assert {name: read_cases(tmp_path / f"{name}.jsonl") for name in plan} == cases
    assert [len(items) for items in cases.values()] == [5, 4]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    write_cases(tmp_path, {"task": [item("a>", "b\n")]})
    with (tmp_path / "task.jsonl").open("a") as stream:
        stream.write('{"prompt": "a"}\n')
    with pytest.raises(LabError, match=r"task\.jsonl:2 is no case"):
        read_cases(tmp_path / "task.jsonl")


@pytest.mark.parametrize(("prompt", "answer"), [("", "b"), (" \n", "b"), ("a", "")])
def test_a_case_without_a_prompt_or_an_answer_is_refused(tmp_path: Path, prompt: str, answer: str) -> None:
    write_cases(tmp_path, {"task": [item(prompt, answer)]})
    with pytest.raises(LabError, match="must hold text"):
        read_cases(tmp_path / "task.jsonl")


def test_the_digest_follows_cases_and_task_files_and_nothing_else(tmp_path: Path) -> None:
    form_of = {"task": "exact_answer"}
    write_cases(tmp_path / "a", {"task": [item("a>", "b\n")]})
    write_cases(tmp_path / "b", {"task": [item("a>", "b\n")]})
    write_cases(tmp_path / "c", {"task": [item("a>", "c\n")]})
    forms = tmp_path / "forms"
    forms.mkdir()
    (forms / "exact_answer.yaml").write_text("task: exact_answer\nmetadata: {version: 9}\n")
    one, two, other = (cases_digest(tmp_path / name, form_of, FORMS) for name in "abc")
    assert one == two
    assert len({one, other, cases_digest(tmp_path / "a", form_of, forms)}) == 3
