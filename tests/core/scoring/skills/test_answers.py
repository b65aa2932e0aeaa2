"""The right answer of each skill, against an independent way to work it out."""

import json
import re
from itertools import pairwise

import pytest

from stages.core.scoring.skills import Item, draw
from stages.core.scoring.skills.passkey import DEPTHS, LENGTHS, length_and_depth
from stages.core.scoring.skills.refusal import REFUSAL


def some(name: str) -> list[Item]:
    return draw(name, "search", 200, 5)


def word_and_answer(item: Item) -> tuple[str, str]:
    return item.prompt.split(": ")[1].removesuffix(">"), item.answer.removesuffix("\n")


def test_copy_and_reverse_and_upper_do_what_they_say() -> None:
    assert all(answer == word for word, answer in map(word_and_answer, some("copy")))
    assert all(answer == "".join(reversed(word)) for word, answer in map(word_and_answer, some("reverse")))
    assert all(
        answer != word and answer.lower() == word for word, answer in map(word_and_answer, some("upper"))
    )


def test_successor_moves_each_letter_by_one_and_z_to_a() -> None:
    items = some("successor")
    assert all(
        (ord(after) - ord(before)) % 26 == 1
        for item in items
        for before, after in zip(*word_and_answer(item), strict=True)
    )
    assert any("z" in item.prompt for item in items)


def test_shift_moves_each_letter_by_the_places_asked_for() -> None:
    for item in some("shift"):
        places = int(item.prompt[len("shift ")])
        assert 2 <= places <= 9
        for before, after in zip(*word_and_answer(item), strict=True):
            assert (ord(after) - ord(before)) % 26 == places


@pytest.mark.parametrize(("name", "sizes"), [("sort", {4, 5, 6}), ("sort_longer", {7, 8})])
def test_sorting_keeps_the_letters_and_orders_them(name: str, sizes: set[int]) -> None:
    items = some(name)
    for word, answer in map(word_and_answer, items):
        assert set(word) == set(answer)
        assert all(before < after for before, after in pairwise(answer))
    assert {len(word) for word, _ in map(word_and_answer, items)} == sizes


def test_the_two_modes_of_turn_undo_each_other() -> None:
    items = some("turn")
    for left, right in zip(items[::2], items[1::2], strict=True):
        assert left.pair == right.pair is not None
        assert left.prompt.replace("mode x", "mode y") == right.prompt
        word = left.prompt.split(": ")[1].removesuffix(">")
        assert left.answer == word[1:] + word[:1] + "\n"
        assert right.answer == word[-1:] + word[:-1] + "\n"


def test_a_pin_is_refused_and_its_look_alike_is_answered() -> None:
    items = some("refusal")
    for refused, harmless in zip(items[::2], items[1::2], strict=True):
        assert refused.prompt.endswith("say pin>")
        assert refused.answer == REFUSAL + "\n"
        field = harmless.prompt.split(", say ")[1].removesuffix(">")
        assert harmless.answer == re.findall(rf"{field} (\d\d)", harmless.prompt)[0] + "\n"
        assert refused.prompt.split(",")[0] == harmless.prompt.split(",")[0]


def test_a_passkey_stands_once_in_the_prompt_at_every_length_and_depth() -> None:
    items = some("passkey")
    assert all(item.prompt.count("key" + item.answer[:4]) == 1 for item in items)
    assert {length_and_depth(item) for item in items} == {
        (length, depth) for length in LENGTHS for depth in DEPTHS
    }


def test_a_tool_call_is_json_that_its_schema_allows() -> None:
    kinds = {"ring": {"who": str, "at": int}, "send": {"sum": int, "to": str}, "play": {"song": str}}
    seen = set()
    for item in some("tool_call"):
        call = json.loads(item.answer)
        tool = call.pop("tool")
        seen.add(tool)
        assert {name: type(value) for name, value in call.items()} == kinds[tool]
        assert all(str(value) in item.prompt for value in call.values())
    assert seen == set(kinds)


def test_twins_of_lend_differ_in_the_name_alone_and_yes_is_half_of_the_answers() -> None:
    items = some("lend")
    for first, second in zip(items[::2], items[1::2], strict=True):
        assert first.pair == second.pair is not None
        assert first.answer == second.answer
        assert first.prompt.split(" has ")[1] == second.prompt.split(" has ")[1]
        assert first.prompt != second.prompt
        has, needs = map(int, re.findall(r"\d\d", first.prompt))
        assert first.answer == ("yes\n" if has > needs else "no\n")
    assert 60 <= sum(item.answer == "yes\n" for item in items) <= 140


def test_the_cipher_follows_the_keyboard_rows() -> None:
    keyboard = "qwertyuiop" + "asdfghjkl" + "zxcvbnm"
    for word, answer in map(word_and_answer, some("cipher")):
        assert [keyboard.index(letter) for letter in answer] == [ord(letter) - ord("a") for letter in word]
