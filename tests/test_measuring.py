"""Cards measured by the lab itself: the committed ones say the same, and no hidden case is looked at."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stages import console, measuring, tasks
from stages.cli import app
from stages.conf import Request, Suite, load_request
from stages.core.errors import LabError
from stages.core.scoring import datafile
from stages.measuring import Measured
from stages.suites import composed

ROOT = Path(__file__).parents[1]
TASKS = ("shift", "sort", "refusal", "lend")
PARENTS = ("pico-base", "pico-a", "pico-b")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with configuration and parents, and nothing made yet."""
    for name in ("conf", "data/sources"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setenv("MERGELAB_STORE", str(tmp_path / "store"))
    return tmp_path


def request_of(root: Path, *names: str) -> Request:
    """The shipped request with some of its tasks."""
    found = load_request(root / "params.yaml")
    kept = {name: task for name, task in found.suite.tasks.items() if name in names}
    return found.model_copy(update={"suite": found.suite.model_copy(update={"tasks": kept})})


def card(root: Path, name: str) -> dict[str, object]:
    tree: dict[str, object] = json.loads((root / "data/sources" / name / "card.json").read_text())
    return tree


def test_the_shipped_cards_say_what_is_measured(root: Path) -> None:
    """Two ways to one number: training counts greedy answers token by token, the lab judges what is said."""
    found = measuring.measure(request_of(root, *TASKS), root)
    assert [one.id for one in found] == list(PARENTS)
    assert [one.niche for one in found] == [None, "shift", "sort"]
    for one in found:
        stated = measuring.cards.load(root / "data/sources" / one.id / "card.json").evaluation
        assert stated is not None
        assert one.evaluation.scores == {skill: stated.scores[skill] for skill in TASKS}
        assert one.evaluation.items == dict.fromkeys(TASKS, measuring.ITEMS)
        assert one.evaluation.weights_sha256 == stated.weights_sha256
    assert not (root / "data/parents").exists()
    assert not list((root / "store").glob("measure-*"))


def test_only_the_evaluation_of_a_card_is_written_and_only_once(root: Path) -> None:
    before = card(root, "pico-a")
    found = measuring.measure(request_of(root, "shift"), root, 20)
    changed = measuring.write(found, root)
    assert changed == [Path("data/sources") / name / "card.json" for name in PARENTS]
    after = card(root, "pico-a")
    assert list(after) == list(before)
    assert {key for key in after if after[key] != before[key]} == {"evaluation"}
    assert after["evaluation"] == found[1].evaluation.model_dump(mode="json")
    assert measuring.write(found, root) == []
    assert "say so already" in measuring.next_move(found, [], written=True)


def test_a_card_outside_the_repository_is_printed_and_left_alone(root: Path) -> None:
    found = measuring.measure(request_of(root, "shift"), root, 4)
    away = [Measured(one.id, one.evaluation, one.niche, None) for one in found]
    assert measuring.write(away, root) == []
    told = measuring.next_move(away, [], written=True)
    assert all(f"the card of {name} lies outside" in told for name in PARENTS)
    assert found[0].evaluation.weights_sha256 in told


def test_parents_are_acquired_before_models_are_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transfer on a terminal has a display of its own, and there can be one at a time."""
    order: list[str] = []
    acquire, narrate = measuring.acquire, measuring.narrate
    monkeypatch.setattr(measuring, "acquire", lambda *given: order.append("acquire") or acquire(*given))
    monkeypatch.setattr(measuring, "narrate", lambda *given: order.append("narrate") or narrate(*given))
    measuring.measure(request_of(root, "shift"), root, 4)
    assert order == ["acquire", "narrate"]


def test_models_of_two_families_are_not_measured_together(root: Path) -> None:
    path = root / "data/sources/pico-b/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_theta": 5.0}))
    with pytest.raises(LabError, match="the architectures of pico-base and pico-b differ"):
        measuring.measure(request_of(root, "shift"), root, 4)


def test_no_hidden_line_of_a_file_is_asked(root: Path) -> None:
    lines = [
        {"prompt": f"Say {word}:", "answer": f" {word}"}
        for word in ("".join("abcdefghij"[int(digit)] for digit in str(number)) for number in range(200))
    ]
    path = root / tasks.DATA / "own.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    items = {"calibration": 1, "search": 1, "selection": 1, "hidden": 12}
    task = {"data": "conf/suite/data/own.jsonl", "form": "exact_answer", "kind": "rare", "items": items}
    suite = Suite.model_validate({"name": "own", "version": 1, "items": items, "tasks": {"own": task}})
    asked = measuring.cases(suite, root, 200)["own"]
    assert {datafile.split_of(item) for item in asked} == set(measuring.OPEN)
    public = sum(datafile.split_of(item) != "hidden" for item in datafile.read(path, "own", "rare"))
    assert len(asked) == len({item.prompt for item in asked}) == public
    assert len(measuring.cases(suite, root, 30)["own"]) == 30


def test_a_skill_with_little_content_is_asked_what_there_is(root: Path) -> None:
    asked = measuring.cases(composed(root, "generic"), root, 200)
    tools = asked["english_tools"]
    assert 20 < len({item.prompt for item in tools}) == len(tools) < 200
    assert len(asked["english_arithmetic"]) == 200


def test_a_task_without_answers_is_not_asked_and_a_skill_only_once(root: Path) -> None:
    suite = load_request(root / "params.yaml").suite
    asked = measuring.cases(suite, root, 2)
    kinds = {suite.tasks[name].kind for name in asked}
    assert not kinds & set(measuring.ANSWERLESS)
    skills = [suite.tasks[name].skill for name in asked]
    assert len(set(skills)) == len(skills)


def test_the_command_says_what_it_would_ask_and_writes_when_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.Path, "cwd", lambda: root)
    runner = CliRunner()
    dry = runner.invoke(app, ["parents", "measure", "--dry-run", "--items", "3"])
    assert dry.exit_code == 0, dry.output
    assert "items each of pico-base, pico-a, pico-b: shift 3, sort 3" in dry.stdout.replace("\n", " ")
    before = card(root, "pico-b")
    told = runner.invoke(app, ["parents", "measure", "--items", "2", "--json", "suite=smoke"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert [one["id"] for one in found] == list(PARENTS)
    assert card(root, "pico-b") == before


def test_cards_are_begun_with_what_the_request_knows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.Path, "cwd", lambda: root)
    for name in ("pico-base", "pico-b"):
        (root / "data/sources" / name / "card.json").unlink()
    kept, runner = card(root, "pico-a"), CliRunner()
    told = runner.invoke(app, ["parents", "cards", "suite=shipped"])
    assert told.exit_code == 0, told.output
    assert told.stdout.count("wrote data/sources/") == 2
    base, expert = (measuring.cards.parse(card(root, name), name) for name in ("pico-base", "pico-b"))
    assert (base.id, base.role, base.base, base.niche, base.evaluation) == (
        "pico-base",
        "base",
        None,
        None,
        None,
    )
    assert (expert.role, expert.base, expert.family) == ("expert", "pico-base", "pico-base")
    assert expert.niche is not None
    assert expert.niche.skill == "sort"
    assert expert.restrictions.pii is None
    assert card(root, "pico-a") == kept
    assert "every parent has a card" in runner.invoke(app, ["parents", "cards"]).stdout
