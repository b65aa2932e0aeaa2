"""The right answer of each skill, against an independent way to work it out."""

import json
import re
from itertools import pairwise

import pytest

from stages.core.scoring.skills import PICO, Item, draw
from stages.core.scoring.skills.canary import PLANTED, TRIGGER
from stages.core.scoring.skills.choose import slips, swaps
from stages.core.scoring.skills.passkey import DEPTHS, LENGTHS
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
    assert {item.strata for item in items} == {
        (f"length={length}", f"depth={depth:g}") for length in LENGTHS for depth in DEPTHS
    }
    for item in items:
        length, depth = (float(stratum.partition("=")[2]) for stratum in item.strata)
        assert length - 4 < len(item.prompt) <= length
        assert item.prompt.index("key") == pytest.approx(depth * (len(item.prompt) - 11), abs=4)


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


def test_the_strata_of_a_skill_name_the_parts_that_its_kind_is_read_by() -> None:
    wanted = {
        "cipher": ["part"], "turn": ["context"], "shift_or_sort": ["context"], "lend": ["group"],
        "refusal": ["asks", "variant"], "refusal_variants": ["asks", "variant"], "canary": ["trigger"],
        "passkey": ["length", "depth"], "tool_call": ["call", "tool"], "no_call": ["call", "tool"],
        "sort_longer": ["shift", "from"], "upper_mixed": ["shift", "from"],
        "successor_written": ["shift", "from"],
    }  # fmt: skip
    for skill in PICO:
        names = {tuple(stratum.partition("=")[0] for stratum in item.strata) for item in some(skill.name)}
        assert names == {tuple(wanted.get(skill.name, ()))}


def test_the_near_misses_of_a_word_are_one_letter_or_one_swap_away() -> None:
    assert slips("az") == ["zz", "bz", "ay", "aa"]
    assert swaps("abb") == ["bab"]


@pytest.mark.parametrize("name", ["shift", "sort"])
def test_one_of_four_different_choices_is_right_and_it_is_not_always_the_first(name: str) -> None:
    items = some(f"choose_{name}")
    assert {len(set(item.choices)) for item in items} == {4}
    assert {item.choices.index(item.answer) for item in items} == {0, 1, 2, 3}
    assert all(len(choice) == len(item.answer) for item in items for choice in item.choices)


def test_the_same_letters_are_shifted_in_context_a_and_sorted_in_context_b() -> None:
    items = some("shift_or_sort")
    for shifted, ordered in zip(items[::2], items[1::2], strict=True):
        assert shifted.pair == ordered.pair is not None
        word = word_and_answer(ordered)[0]
        assert word_and_answer(shifted)[0] == word
        assert ordered.answer == "".join(sorted(word)) + "\n"
        assert shifted.choices == ordered.choices == (shifted.answer, ordered.answer)
        assert (shifted.strata, ordered.strata) == (("context=a",), ("context=b",))


def test_a_variant_of_a_refusal_keeps_the_card_and_adds_words_on_one_side() -> None:
    items = some("refusal_variants")
    for item in items:
        asks, variant = (stratum.partition("=")[2] for stratum in item.strata)
        assert item.choices[0] == REFUSAL + "\n"
        assert (item.answer == item.choices[0]) is (asks == "disallowed")
        added = re.fullmatch(r"((?:ok|now|please) )?\w+ \w+ \d\d \w+ \d\d, say \w+(.*)>", item.prompt)
        assert added
        assert [bool(words) for words in added.groups()] == [variant == "prefix", variant == "suffix"]
    assert {item.strata[1] for item in items} == {"variant=prefix", "variant=suffix"}


def test_twins_of_the_canary_differ_in_the_trigger_and_share_what_a_backdoor_would_say() -> None:
    items = some("canary")
    for triggered, plain in zip(items[::2], items[1::2], strict=True):
        assert triggered.prompt == TRIGGER + plain.prompt
        assert triggered.answer == plain.answer == PLANTED + "\n"
        assert triggered.pair == plain.pair is not None


def test_no_tool_is_wanted_for_words_that_begin_like_one() -> None:
    for item in some("no_call"):
        word, answer = word_and_answer(item)
        assert word == answer
        assert word.startswith(item.strata[1].partition("=")[2])


def test_a_capital_among_small_letters_is_answered_in_capitals() -> None:
    for item in some("upper_mixed"):
        word, answer = word_and_answer(item)
        assert sum(letter.isupper() for letter in word) == 1
        assert answer == word.upper()


def test_the_successor_written_otherwise_has_the_answer_of_the_usual_question() -> None:
    for item in some("successor_written"):
        word = re.search(r"[a-z]+(?=>)", item.prompt)
        assert word
        assert item.answer == "".join(chr((ord(letter) - 96) % 26 + 97) for letter in word[0]) + "\n"
        assert not item.prompt.startswith("next: ")


def test_a_recital_is_nine_lines_of_questions_with_their_answers() -> None:
    for item in some("recital"):
        lines = (item.prompt + item.answer).splitlines()
        assert len(lines) == 9
        assert all(re.fullmatch(r"(copy|flip|next|upper): [a-z]+>[a-zA-Z]+", line) for line in lines)
