"""Items come from a seed alone, and no two splits share content."""

import hashlib

import pytest

from stages.core.errors import LabError
from stages.core.scoring.skills import KINDS, SKILLS, SPLITS, Item, draw
from stages.core.scoring.skills.items import (
    FAMILIES,
    SPLIT_FAMILIES,
    Draft,
    Draws,
    Skill,
    draw_items,
    family_of,
)

NAMES = [skill.name for skill in SKILLS]
EVALUATION = [split for split in SPLITS if split != "train"]


def tiny(contents: int) -> Skill:
    """A skill with few contents."""

    def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
        content = str(draws.below(contents))
        return content, (Draft(content, content),)

    return Skill("tiny", "shared", 1, "say a number", make)


def test_every_family_belongs_to_exactly_one_split() -> None:
    owned = [family for families in SPLIT_FAMILIES.values() for family in families]
    assert sorted(owned) == list(range(FAMILIES))
    assert len(SPLIT_FAMILIES["train"]) > FAMILIES / 2


@pytest.mark.parametrize("name", NAMES)
def test_each_evaluation_split_has_400_different_items_of_its_own_families(name: str) -> None:
    for split in EVALUATION:
        items = draw(name, split, 400, 3)
        assert len({(item.prompt, item.pair) for item in items}) == 400
        assert {item.family for item in items} <= set(SPLIT_FAMILIES[split])
        assert {item.skill for item in items} == {name}


@pytest.mark.parametrize("name", NAMES)
def test_no_evaluation_prompt_is_ever_drawn_for_training(name: str) -> None:
    trained = {item.prompt for item in draw(name, "train", 2000, 1)}
    assert not trained & {item.prompt for split in EVALUATION for item in draw(name, split, 400, 1)}


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_never_ends_in_white_space_and_an_answer_ends_in_its_only_newline(name: str) -> None:
    for item in draw(name, "search", 200, 0):
        assert item.prompt == item.prompt.rstrip()
        assert item.answer.index("\n") == len(item.answer) - 1 > 0
        assert len(item.prompt + item.answer) <= 256
        assert (item.prompt + item.answer).isascii()


def test_a_longer_draw_starts_with_the_shorter_one() -> None:
    assert draw("copy", "hidden", 50, 7)[:20] == draw("copy", "hidden", 20, 7)


def test_another_seed_or_split_gives_other_items() -> None:
    assert draw("copy", "search", 20, 7) != draw("copy", "search", 20, 8)
    assert not set(draw("copy", "search", 300, 7)) & set(draw("copy", "selection", 300, 7))


def test_the_items_of_version_1_are_the_ones_that_were_first_drawn() -> None:
    """The digest was taken on Linux with Python 3.11; a change of it changes every evaluation."""
    items = [item for name in NAMES for item in draw(name, "hidden", 20, 0)]
    text = "".join(repr((item.prompt, item.answer)) for item in items)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "07b15fc511d55b56"


def test_a_family_is_the_hash_of_skill_and_content_modulo_20() -> None:
    number = int.from_bytes(hashlib.sha256(b"copy\0abcd").digest()[:8], "big")
    assert family_of("copy", "abcd") == number % 20


def test_a_skill_with_too_little_content_says_how_much_it_has() -> None:
    with pytest.raises(
        LabError, match=r"cannot draw 60 items of skill 'tiny' from split 'train': only \d+ different"
    ):
        draw_items(tiny(50), "train", 60, 0)


@pytest.mark.parametrize(
    ("name", "split", "count", "message"),
    [
        ("copi", "train", 1, "unknown skill 'copi': expected one of shift, sort"),
        ("copy", "test", 1, "unknown split 'test' for skill 'copy': expected one of train, smoke"),
        ("copy", "train", -1, "cannot draw -1 items of skill 'copy'"),
    ],
)
def test_a_wrong_request_is_told_what_is_possible(name: str, split: str, count: int, message: str) -> None:
    with pytest.raises(LabError, match=message):
        draw(name, split, count, 0)


def test_every_kind_is_filled_and_names_are_unique() -> None:
    assert {skill.kind for skill in SKILLS} == set(KINDS)
    assert len(set(NAMES)) == len(NAMES)


def test_items_without_a_twin_have_no_pair() -> None:
    assert {item.pair for item in draw("sort", "smoke", 30, 0)} == {None}
    assert isinstance(draw("sort", "smoke", 1, 0)[0], Item)
