"""Suites from files of one's own: what is refused, what is written, and what the request makes of it."""

import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from stages import console, tasks
from stages.cli import app
from stages.conf import Suite, load_request
from stages.core.errors import BadRequest
from stages.core.records.policy import Policy
from stages.core.scoring.cases import draw_cases
from stages.core.scoring.skills import draw
from stages.eval.suites import describe, suite_digest
from stages.suites import Wanted, composed, kind_of, matrix, new, orders

ROOT = Path(__file__).parents[1]
ITEMS = {"calibration": 1, "search": 1, "selection": 1, "hidden": 12}


def policy() -> Policy:
    return Policy.model_validate(yaml.safe_load((ROOT / "conf/policy/default.yaml").read_text()))


@cache
def shipped(name: str) -> Suite:
    """A suite of the repository: composing takes a second."""
    return composed(ROOT, name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of its configuration alone."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def questions(path: Path, count: int, **more: object) -> Path:
    words = ("".join("abcdefghij"[int(digit)] for digit in str(number)) for number in range(count))
    lines = [json.dumps({"prompt": f"Say {word}:", "answer": f" {word}", **more}) for word in words]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def wanted(data: Path, **changed: object) -> Wanted:
    usual = {"name": "mine", "kind": "niche:b", "niche": "pico-b", "beside": "shipped", "form": None}
    return Wanted(data=data, **usual | changed)  # type: ignore[arg-type]


def own(root: Path, count: int = 60, **task: object) -> Suite:
    """A suite of one task, whose file has `count` lines."""
    (root / tasks.DATA).mkdir(parents=True, exist_ok=True)
    questions(root / tasks.DATA / "own.jsonl", count)
    tree = {"data": "conf/suite/data/own.jsonl", "form": "exact_answer", "kind": "rare", "items": ITEMS}
    return Suite.model_validate({"name": "own", "version": 1, "items": ITEMS, "tasks": {"own": tree | task}})


def test_a_scaffolded_suite_composes_passes_its_checks_and_draws_disjoint_splits(root: Path) -> None:
    begun = new(root, wanted(questions(root / "f.jsonl", 120)), policy())
    assert [str(path) for path in begun.files] == [
        "conf/suite/mine.yaml", "conf/suite/lm_eval/mine.yaml", "conf/suite/data/mine.jsonl",
    ]  # fmt: skip
    assert sum(begun.items.values()) == 120
    assert yaml.safe_load((root / begun.files[1]).read_text())["task"] == "mine"
    suite = composed(root, "mine")
    assert list(suite.tasks)[-1] == "mine"
    assert suite.tasks["mine"].parent == "pico-b"
    assert list(tasks.problems(root, suite, policy())) == []
    plan = {"mine": tasks.plan(suite, root)["mine"]}
    drawn = [item.prompt for split in tasks.SPLITS for item in draw_cases(plan, split, 0)["mine"]]
    assert len(set(drawn)) == len(drawn) == 120


def test_everything_wrong_with_what_is_begun_is_told_at_once_and_nothing_is_written(root: Path) -> None:
    data = questions(root / "f.jsonl", 3)
    data.write_text(data.read_text() + "{\n")
    before = sorted(root.rglob("*"))
    with pytest.raises(BadRequest, match="no JSON") as caught:
        new(
            root,
            wanted(data, name="shipped", kind="tools", niche=None, form="essay", beside="none"),
            policy(),
        )
    told = "\n".join(caught.value.problems)
    for words in (
        "--kind: unknown kind 'tools'", "--form: no file conf/suite/lm_eval/essay.yaml",
        "--on: no file conf/suite/none.yaml", "conf/suite/shipped.yaml exists already",
        f"{data}:4: no JSON",
    ):  # fmt: skip
        assert words in told
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kind": "shared", "niche": None}, "the policy needs 86: "),
        ({"niche": None}, "--parent: a niche belongs to a parent"),
        ({"kind": "calibration", "niche": None}, "kind calibration needs choices"),
        ({"form": "choice"}, "lines have no choices, which the form 'choice' chooses from"),
        ({"name": "../x"}, "NAME: expected small letters"),
        ({"kind": "perplexity", "niche": None}, "a .txt file is for --kind perplexity"),
    ],
)
def test_what_cannot_be_begun_is_refused_with_the_reason(
    root: Path, changed: dict[str, object], words: str
) -> None:
    with pytest.raises(BadRequest, match=words.replace(".", r"\.")):
        new(root, wanted(questions(root / "f.jsonl", 100), **changed), policy())


def test_a_file_too_short_for_the_margin_says_how_many_lines_would_do(root: Path) -> None:
    """86 clusters show a margin of .05 at .95 (ln .0125 / ln .95); hidden gets 11 of 20 families."""
    with pytest.raises(BadRequest, match="About 157 lines of families of their own would do"):
        new(root, wanted(questions(root / "f.jsonl", 100), kind="shared", niche=None), policy())


def test_the_kind_of_a_parents_questions_is_its_niche(root: Path) -> None:
    (root / "conf/parents/mine.yaml").write_text("base: x\nmerge: [first, second]\n")
    (root / "conf/parents/empty.yaml").write_text("")
    known = orders(root, load_request(root / "params.yaml").parents)
    names = ("pico-a", "pico-b", "first", "second", "nobody", None)
    assert [kind_of(None, name, known) for name in names] == [
        "niche:a", "niche:b", "niche:a", "niche:b", "niche:a", "shared",
    ]  # fmt: skip
    assert kind_of("tool", "pico-a", known) == "tool"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"skill": "copy"}, "expected exactly one of skill and data"),
        ({"data": None}, "expected exactly one of skill and data"),
        ({"form": None}, "data needs a form"),
        ({"data": "../secret.jsonl"}, "should match pattern"),
        ({"data": "conf/suite/data/../../x.jsonl"}, "should match pattern"),
        ({"form": "../choice"}, "should match pattern"),
    ],
)
def test_a_task_has_one_source_inside_the_repository(
    tmp_path: Path, task: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        own(tmp_path, **task)


def test_a_link_out_of_the_folder_of_data_is_refused(root: Path) -> None:
    suite = own(root)
    file = root / tasks.DATA / "own.jsonl"
    file.rename(root / "elsewhere.jsonl")
    file.symlink_to(root / "elsewhere.jsonl")
    assert list(tasks.problems(root, suite, policy())) == [
        "suite.tasks.own.data: leads out of conf/suite/data"
    ]


def test_too_few_items_of_a_file_that_has_enough_are_to_be_asked_for(root: Path) -> None:
    few = own(root, 200, kind="perplexity", items=ITEMS | {"hidden": 4})
    told = [problem for problem in tasks.problems(root, few, policy()) if "hidden" in problem]
    assert len(told) == 1
    assert "hidden: 4 questions" in told[0]
    assert "ask for more in items.hidden" in told[0]


def test_unknown_forms_bad_lines_and_too_few_of_them_are_problems_of_the_request(root: Path) -> None:
    suite = own(root, 20, form="exact_anser", kind="shared")
    told = list(tasks.problems(root, suite, policy()))
    assert told[0].startswith("suite.tasks.own.form: no file conf/suite/lm_eval/exact_anser.yaml")
    assert "exact_answer" in told[0]
    assert any("the policy needs 86" in problem for problem in told)
    (root / tasks.DATA / "own.jsonl").write_text("{}\n")
    assert any("own.jsonl:1: prompt: expected a text" in why for why in tasks.problems(root, suite, policy()))


def test_the_digest_of_a_suite_moves_with_the_bytes_of_its_files(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    suite = own(root)
    before = suite_digest(suite, tasks.FORMS, 1)
    assert suite_digest(suite, tasks.FORMS, 1) == before
    with (root / tasks.DATA / "own.jsonl").open("a") as stream:
        stream.write("\n")
    assert suite_digest(suite, tasks.FORMS, 1) != before
    assert describe(suite)["own"]["description"] == "the questions of conf/suite/data/own.jsonl"


def test_a_quick_look_asks_each_content_once_and_nothing_without_a_right_answer(root: Path) -> None:
    found = tasks.smoke(shipped("shipped"), 3)
    assert len(found) == 13
    assert found["copy"] == [(item.prompt, item.answer) for item in draw("copy", "smoke", 3, 0)]
    assert not {"canary", "recital", "no_call"} & found.keys()
    pairs = tasks.smoke(own(root), 5, root)["own"]
    assert 0 < len(pairs) <= 5
    assert all(answer.startswith(" ") for _, answer in pairs)


@pytest.mark.parametrize("name", ["shipped", "smoke", "generic"])
def test_the_suites_of_the_repository_have_no_problem_and_can_be_drawn(name: str) -> None:
    suite = shipped(name)
    assert list(tasks.problems(ROOT, suite, policy())) == []
    few = {task: one for task, one in tasks.plan(suite, ROOT).items() if one.items["hidden"] <= 24}
    for split in tasks.SPLITS:
        drawn = draw_cases(few, split, 1)
        assert {task: len(items) for task, items in drawn.items()} == {
            task: one.items[split] for task, one in few.items()
        }


def test_a_suite_is_shown_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = CliRunner().invoke(app, ["suite", "show", "generic", "--json"])
    tree = json.loads(shown.stdout)
    rows = {row["task"]: row for row in tree["tasks"]}
    assert rows["english_text"]["output_type"] == "loglikelihood_rolling"
    assert len(rows["english_text"]["sha256"]) == 64
    assert rows["english_tools"]["source"] == "english_tools 1"
    monkeypatch.setattr(console.out, "width", 160)
    text = CliRunner().invoke(app, ["suite", "show", "generic"]).stdout
    assert "english_passkey" in text
    assert "calibration, search, selection, hidden" in text
    assert [row["task"] for row in matrix(ROOT, shipped("generic"))] == list(shipped("generic").tasks)


def test_the_command_begins_a_suite_and_says_what_is_next(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    shutil.copytree(ROOT / "data/sources", root / "data/sources")
    data = str(questions(root / "f.jsonl", 120))
    options: Sequence[str] = ["suite", "new", "mine", "--data", data, "--parent", "pico-a", "--on", "shipped"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.stderr
    assert "mergelab suite show mine" in done.stdout
    assert composed(root, "mine").tasks["mine"].kind == "niche:a"
    again = CliRunner().invoke(app, options)
    assert again.exit_code == 1
    assert "conf/suite/mine.yaml exists already" in again.stderr
