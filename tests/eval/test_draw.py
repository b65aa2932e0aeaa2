"""What is drawn for a candidate set, what is refused, and what of private cases reaches an output."""

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.conf import Suite
from stages.core.errors import BadRequest, LabError
from stages.core.records.canonical import read_json
from stages.core.records.evidence import TaskEvidence
from stages.core.records.policy import LooksPolicy
from stages.core.scoring.cases import read_cases
from stages.eval import private
from stages.eval.draw import Drawn, Rooms, drawn
from stages.eval.suites import SPLITS, suite_digest
from tests.eval.toy import FORMS, SUITE, TASKS

ONE, TWO = "1" * 64, "2" * 64
COUNTED = LooksPolicy(fresh=None, private=None)
SECRET = "tell: what is kept behind the green door>"


@contextmanager
def draw(
    root: Path, frozen: str = ONE, suite: Suite = SUITE, policy: LooksPolicy = COUNTED
) -> Iterator[tuple[Drawn, Rooms]]:
    rooms = Rooms(root / "cases", FORMS, root / "looks.json", root / "vault", [root / "candidates"])
    with drawn(suite, suite_digest(suite, FORMS, 1), frozen, policy, rooms) as found:
        yield found, rooms


def hidden(root: Path, frozen: str, **options: LooksPolicy) -> list[str]:
    with draw(root, frozen, **options) as (_, rooms):
        return [item.prompt for task in TASKS for item in read_cases(rooms.cases / f"hidden/{task}.jsonl")]


def test_only_hidden_cases_follow_the_candidate_set(tmp_path: Path) -> None:
    for name, frozen in (("one", ONE), ("two", TWO)):
        with draw(tmp_path / name, frozen):
            pass
    for task in TASKS:
        for split in SPLITS:
            one, two = (
                (tmp_path / name / f"cases/{split}/{task}.jsonl").read_bytes() for name in ("one", "two")
            )
            assert (one == two) is (split != "hidden")


def test_every_hidden_case_carries_the_seal_of_its_set_and_no_public_one_does(tmp_path: Path) -> None:
    with draw(tmp_path) as (found, rooms):
        for split in SPLITS:
            seals = {item.seal for path in (rooms.cases / split).iterdir() for item in read_cases(path)}
            assert seals == ({found.hidden["seal"]} if split == "hidden" else {""})
    with draw(tmp_path / "two", TWO) as (other, _):
        assert other.hidden["seal"] != found.hidden["seal"]


@pytest.mark.parametrize(
    ("left", "said"), [("the seal", "the seal of the hidden"), (SECRET, "a hidden prompt")]
)
def test_a_search_that_left_a_trace_of_a_hidden_case_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str, said: str
) -> None:
    folder = vault(tmp_path, monkeypatch, [{"prompt": SECRET, "answer": "a key\n"}])
    suite = with_private(private.hide(folder, "cases.jsonl"))
    with draw(tmp_path / "before", suite=suite) as (found, _):
        seal = found.hidden["seal"]
    note = tmp_path / "candidates/c1/lineage.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"scored": left.replace("the seal", seal)}))
    with (
        pytest.raises(LabError, match=rf"candidates/c1/lineage.json holds {said}"),
        draw(tmp_path, suite=suite),
    ):
        pass
    assert not (tmp_path / "cases").exists()
    assert not (tmp_path / "looks.json").exists(), "nobody looked"


def test_a_hidden_case_that_stands_in_a_public_split_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = vault(tmp_path, monkeypatch, [{"prompt": SECRET, "answer": "a key\n"}])
    with draw(tmp_path / "public") as (_, rooms):
        public = read_cases(rooms.cases / f"search/{next(iter(TASKS))}.jsonl")[1]
    written(folder, [{"prompt": f" {public.prompt.upper()} ", "answer": public.answer}])
    with (
        pytest.raises(LabError, match=r"search/shift.jsonl:2 is a hidden case of 'shift'"),
        draw(tmp_path, suite=with_private(private.hide(folder, "cases.jsonl"))),
    ):
        pass


def test_one_set_is_one_look_however_often_it_is_evaluated(tmp_path: Path) -> None:
    numbers = []
    for frozen in (ONE, ONE, TWO, ONE):
        with draw(tmp_path, frozen) as (found, rooms):
            numbers.append(found.hidden["looks"]["fresh"]["number"])
    assert numbers == [1, 1, 2, 1]
    assert list(read_json(rooms.ledger)["looks"].values()) == [[ONE, TWO]]


def test_a_set_beyond_the_budget_of_looks_is_refused_and_not_entered(tmp_path: Path) -> None:
    policy = LooksPolicy(fresh=1, private=None)
    hidden(tmp_path, ONE, policy=policy)
    before = (tmp_path / "looks.json").read_bytes()
    with pytest.raises(LabError, match=r"no look is left at hidden cases \(fresh: 1 of 1 looks are spent\)"):
        hidden(tmp_path, TWO, policy=policy)
    assert (tmp_path / "looks.json").read_bytes() == before
    assert hidden(tmp_path, ONE, policy=policy), "the first set may be evaluated again"


def test_a_ledger_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "looks.json").write_text("[]")
    with pytest.raises(LabError, match=r"looks.json: expected schema 'mergelab/looks/1'. Restore it"):
        hidden(tmp_path, ONE)


def vault(root: Path, monkeypatch: pytest.MonkeyPatch, cases: list[dict[str, str]]) -> Path:
    folder = root / "elsewhere"
    monkeypatch.setenv(private.FOLDER, str(folder))
    written(folder, cases)
    return folder


def written(folder: Path, cases: list[dict[str, str]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))


def with_private(digest: str, file: str = "cases.jsonl") -> Suite:
    tasks = SUITE.model_dump()["tasks"]
    tasks["shift"]["private"] = {"file": file, "hmac": digest}
    return Suite.model_validate(SUITE.model_dump() | {"tasks": tasks})


def test_private_cases_are_answered_and_none_of_their_words_reaches_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = [{"prompt": SECRET + side, "answer": "the key\n", "pair": "door"} for side in "LR"]
    folder = vault(tmp_path, monkeypatch, twins)
    suite = with_private(private.hide(folder, "cases.jsonl"))
    with draw(tmp_path, suite=suite) as (found, rooms):
        split = next(split for split in found.splits if split.name == "hidden")
        assert [item.prompt for item in read_cases(split.folder / "shift.jsonl")] == [
            SECRET + "L",
            SECRET + "R",
        ]
        assert split.sizes["shift"] == 2
        assert found.private == {"shift"}
        assert stat.S_IMODE(rooms.vault.stat().st_mode) == 0o700
    assert not rooms.vault.exists()
    shown = read_cases(rooms.cases / "hidden/shift.jsonl")
    assert [(item.prompt, item.answer, item.pair) for item in shown] == [
        ("private case 1", "private\n", "pair 1"),
        ("private case 2", "private\n", "pair 1"),
    ]
    texts = "".join(
        path.read_text() for path in tmp_path.rglob("*") if path.is_file() and folder != path.parent
    )
    assert "green door" not in texts


def test_what_was_said_to_private_cases_is_not_published() -> None:
    answers = {name: TaskEvidence((True,), (-1.0,), (2,), {}, ("the key",)) for name in ("shift", "sort")}
    kept = private.without_words(answers, frozenset({"shift"}))
    assert [kept[name].said for name in ("shift", "sort")] == [None, ("the key",)]


def test_the_digest_of_a_private_file_confirms_no_guess_without_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = vault(tmp_path, monkeypatch, [{"prompt": SECRET, "answer": "a key\n"}])
    first = private.hide(folder, "cases.jsonl")
    assert private.hide(folder, "cases.jsonl") == first
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    (folder / "key").unlink()
    assert private.hide(folder, "cases.jsonl") != first


def test_every_private_file_that_is_not_the_one_named_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = vault(tmp_path, monkeypatch, [{"prompt": SECRET, "answer": "a key\n"}])
    digest = private.hide(folder, "cases.jsonl")
    with (folder / "cases.jsonl").open("a") as stream:
        stream.write('{"prompt": "one more", "answer": "x\\n"}\n')
    (folder / "broken.jsonl").write_text('{"prompt": "no answer"}\n')
    broken = private.Named(
        "c",
        "broken.jsonl",
        private.seal(
            bytes.fromhex((folder / "key").read_text()),
            "broken.jsonl",
            (folder / "broken.jsonl").read_bytes(),
        ),
    )
    with pytest.raises(BadRequest, match="no case") as caught:
        private.read(
            [private.Named("a", "cases.jsonl", digest), private.Named("b", "absent.jsonl", digest), broken]
        )
    assert [problem.split(":")[0].rpartition("/")[2].split(" ")[0] for problem in caught.value.problems] == [
        "cases.jsonl", "absent.jsonl", "broken.jsonl",
    ]  # fmt: skip
    monkeypatch.delenv(private.FOLDER)
    with pytest.raises(BadRequest, match="MERGELAB_PRIVATE must name the folder"):
        private.read([private.Named("a", "cases.jsonl", digest)])
