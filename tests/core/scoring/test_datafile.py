import json
from collections import Counter
from pathlib import Path

import pytest

from stages.core.errors import BadRequest, LabError
from stages.core.scoring.datafile import (
    PASSAGE,
    SPLIT_FAMILIES,
    clusters,
    draw,
    passages,
    read,
    shape,
    split_of,
    spread,
)
from stages.core.scoring.skills.items import FAMILIES


def written(folder: Path, *lines: object, name: str = "own.jsonl") -> Path:
    path = folder / name
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def question(number: int, **more: object) -> dict[str, object]:
    word = "".join("abcdefghij"[int(digit)] for digit in str(number))
    return {"prompt": f"Say {word}:", "answer": f" {word}", **more}


def test_every_family_belongs_to_one_split_and_none_to_training() -> None:
    owned = [family for families in SPLIT_FAMILIES.values() for family in families]
    assert sorted(owned) == list(range(FAMILIES))
    assert list(SPLIT_FAMILIES) == ["calibration", "search", "selection", "hidden"]


def test_prompt_and_answer_are_taken_as_they_stand(tmp_path: Path) -> None:
    line = {"prompt": "Q: é \n", "answer": " A", "choices": [" A", " B"], "strata": ["asks=disallowed"]}
    (item,) = read(written(tmp_path, line, ""), "own")
    assert (item.prompt, item.answer, item.choices, item.strata) == (
        "Q: é \n",
        " A",
        (" A", " B"),
        ("asks=disallowed",),
    )
    assert (item.skill, item.pair) == ("own", None)


def test_prompts_that_differ_in_case_numbers_or_spaces_share_a_family(tmp_path: Path) -> None:
    one, two, other = read(
        written(
            tmp_path,
            {"prompt": "What is 12  plus 7?", "answer": "19"},
            {"prompt": "what is 3 plus 4?", "answer": "7"},
            {"prompt": "What is 3 minus 4?", "answer": "-1"},
        ),
        "own",
    )
    assert shape("What is 12  plus 7?") == "what is 0 plus 0?"
    assert one.family == two.family != other.family


def test_a_named_family_stays_in_one_split_and_rises_and_falls_together(tmp_path: Path) -> None:
    lines = [question(place, family=place // 3) for place in range(30)]
    items = read(written(tmp_path, *lines), "own")
    for first in range(0, 30, 3):
        together = items[first : first + 3]
        assert len({split_of(item) for item in together}) == len({item.pair for item in together}) == 1
    hidden = sum(split_of(item) == "hidden" for item in items)
    assert clusters(items, "hidden") == hidden / 3


def test_twins_share_a_split_without_naming_a_family(tmp_path: Path) -> None:
    lines = [question(place, pair=f"p{place // 2}") for place in range(40)]
    items = read(written(tmp_path, *lines), "own")
    assert all(split_of(one) == split_of(two) for one, two in zip(items[::2], items[1::2], strict=True))
    assert items[0].pair == items[1].pair == "own:p0"


def test_splits_share_no_item_and_hidden_gets_the_most(tmp_path: Path) -> None:
    items = read(written(tmp_path, *map(question, range(200))), "own")
    sizes = spread(items)
    assert sum(sizes.values()) == 200
    assert max(sizes, key=sizes.__getitem__) == "hidden"
    drawn = [draw(items, "own", split, size, 0) for split, size in sizes.items()]
    assert max(Counter(item for part in drawn for item in part).values()) == 1


def test_another_seed_draws_other_items_of_the_same_split(tmp_path: Path) -> None:
    items = read(written(tmp_path, *map(question, range(200))), "own")
    one, two = (draw(items, "own", "hidden", 20, seed) for seed in (1, 2))
    assert one != two
    assert one == draw(items[::-1], "own", "hidden", 20, 1)
    assert {split_of(item) for item in (*one, *two)} == {"hidden"}


def test_a_file_with_too_few_lines_says_how_many_would_do(tmp_path: Path) -> None:
    items = read(written(tmp_path, *map(question, range(20))), "own")
    with pytest.raises(LabError, match=r"suite\.tasks\.own: \d+ of the 60 wanted for split 'hidden', which"):
        draw(items, "own", "hidden", 60, 0)
    with pytest.raises(LabError, match="About 110 lines of families of their own would do"):
        draw(items, "own", "hidden", 60, 0)


def test_every_problem_of_a_file_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        question(1),
        "{",
        [1],
        {"prompt": " ", "answer": 3},
        question(2, choices=["x", "y"]),
        question(3, choices=["x"]),
        question(4, strata=["hard"]),
        question(5, colour="red"),
        question(1),
        question(6, pair="p", family="one"),
        question(7, pair="p", family="two"),
        question(8, pair=3),
        question(9, family=[1]),
    )
    with pytest.raises(BadRequest, match=r":2: no JSON") as caught:
        read(path, "own")
    told = [problem.removeprefix(f"{path}:") for problem in caught.value.problems]
    assert [told.split(": ")[0] for told in told] == [
        "2", "3", "4", "4", "5", "6", "7", "8", "12", "13", "9", "11",
    ]  # fmt: skip
    assert told[3] == "4: answer: expected a text, got 3"
    assert told[4] == "5: the answer ' c' is not among the choices"
    assert told[7].startswith("8: unknown key 'colour' (there are: prompt, answer")
    assert told[10] == "9: the prompt of line 1 again"
    assert told[11] == "11: its twin on line 10 is of another family: give both one"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("refusal", 'kind refusal needs a stratum "asks=…"'),
        ("canary", 'kind canary needs a stratum "trigger=…"'),
        ("bias", "kind bias needs a pair"),
        ("calibration", "kind calibration needs choices"),
    ],
)
def test_what_a_kind_is_measured_by_must_be_there(tmp_path: Path, kind: str, why: str) -> None:
    with pytest.raises(BadRequest, match=f"own.jsonl:1: {why}"):
        read(written(tmp_path, question(1)), "own", kind)


def test_a_missing_an_empty_and_a_binary_file_are_told_as_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="No such file"):
        read(tmp_path / "none.jsonl", "own")
    with pytest.raises(BadRequest, match=r"no line\. Write one JSON object a line"):
        read(written(tmp_path), "own")
    (tmp_path / "binary.jsonl").write_bytes(b"ab\xff")
    with pytest.raises(BadRequest, match="no UTF-8 text: byte 2 is 0xff"):
        read(tmp_path / "binary.jsonl", "own")


def test_a_text_becomes_passages_of_whole_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    paragraphs = [f"Paragraph {word} " + "word " * 60 + "end." for word in ("one", "two", "three", "four")]
    path.write_text("\n\n".join(paragraphs))
    found = passages(path)
    assert [text.count("Paragraph") for text in found] == [2, 2]
    assert all(len(text) >= PASSAGE for text in found)
    items = read(path, "own")
    assert [item.prompt + item.answer for item in items] == found
    with pytest.raises(BadRequest, match=f"at least {PASSAGE} characters, got 2"):
        passages(written(tmp_path, "a", name="short.txt"))
