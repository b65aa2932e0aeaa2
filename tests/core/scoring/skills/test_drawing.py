"""Items come from a seed alone, and no two splits share content."""

import hashlib

import pytest

from stages.core.errors import LabError
from stages.core.scoring.skills import (
    GENERIC,
    KINDS,
    SKILLS,
    SPLITS,
    TAUGHT,
    Item,
    draw,
    skill_named,
)
from stages.core.scoring.skills.items import (
    FAMILIES,
    SPLIT_FAMILIES,
    Draft,
    Draws,
    Skill,
    draw_items,
    family_of,
    split_of,
)

NAMES = [skill.name for skill in SKILLS]
EVALUATION = [split for split in SPLITS if split != "train"]


def word_of(item: Item) -> str:
    return item.prompt.split(": ")[1].removesuffix(">")


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
def test_each_evaluation_split_has_many_different_items_of_its_own_families(name: str) -> None:
    skill = skill_named(name)  # the numbers are above those of conf/suite, for any split
    count = 400 if skill in TAUGHT else 40 if skill in GENERIC else 120
    for split in EVALUATION:
        items = draw(name, split, count, 3)
        assert len({(item.prompt, item.pair) for item in items}) == count
        assert {item.family for item in items} <= set(SPLIT_FAMILIES[split])
        assert {item.skill for item in items} == {name}


@pytest.mark.parametrize("name", NAMES)
def test_no_evaluation_prompt_is_ever_drawn_for_training(name: str) -> None:
    taught = skill_named(name) in TAUGHT
    trained = {
        item.prompt for item in draw(skill_named(name).source or name, "train", 2000 if taught else 200, 1)
    }
    count = 400 if taught else 40
    assert not trained & {item.prompt for split in EVALUATION for item in draw(name, split, count, 1)}


def test_the_rows_that_the_shipped_parents_were_trained_on_are_still_drawn() -> None:
    """The digest was taken before the taught skills had strata and choices: these must not move a draw."""
    items = [item for skill in TAUGHT for item in draw(skill.name, "train", 200, 1)]
    text = "".join(repr((item.prompt, item.answer, item.pair, item.family)) for item in items)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "375dab81242d8861"


def test_a_skill_that_asks_about_the_content_of_another_has_its_splits() -> None:
    for skill in SKILLS:
        assert not skill.source or skill_named(skill.source) in TAUGHT
    sorted_in = {"".join(sorted(word_of(item))): item.family for item in draw("choose_sort", "hidden", 50, 0)}
    assert all(family == family_of("sort", content) for content, family in sorted_in.items())


def test_both_questions_of_a_conflict_between_niches_belong_to_one_split() -> None:
    for item in draw("shift_or_sort", "hidden", 100, 0):
        if item.prompt.startswith("sort"):
            assert split_of("sort", item.answer.strip()) == "hidden"
        else:
            assert (
                split_of("shift", item.prompt.removeprefix("shift ").removesuffix(">").replace(":", ""))
                == "hidden"
            )


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_never_ends_in_white_space_and_an_answer_ends_in_its_only_newline(name: str) -> None:
    for item in draw(name, "search", 40 if skill_named(name) in GENERIC else 200, 0):
        assert item.prompt == item.prompt.rstrip()
        assert item.answer.index("\n") == len(item.answer) - 1 > 0
        assert len(item.prompt + item.answer) <= 256 or skill_named(name) in GENERIC
        assert (item.prompt + item.answer).isascii()


def test_a_longer_draw_starts_with_the_shorter_one() -> None:
    assert draw("copy", "hidden", 50, 7)[:20] == draw("copy", "hidden", 20, 7)


def test_another_seed_or_split_gives_other_items() -> None:
    assert draw("copy", "search", 20, 7) != draw("copy", "search", 20, 8)
    assert not set(draw("copy", "search", 300, 7)) & set(draw("copy", "selection", 300, 7))


def test_the_items_of_version_1_are_the_ones_that_were_first_drawn() -> None:
    """The digest was taken on Linux with Python 3.11; a change of it changes every evaluation."""
    items = [item for skill in TAUGHT for item in draw(skill.name, "hidden", 20, 0)]
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


def test_choices_hold_the_answer_and_a_skill_of_the_form_choice_has_some() -> None:
    for skill in SKILLS:
        for item in draw(skill.name, "search", 50, 0):
            assert not item.choices or item.answer in item.choices
            assert skill.form != "choice" or len(item.choices) > 1


def test_every_kind_is_filled_and_names_are_unique() -> None:
    assert {skill.kind for skill in SKILLS} == set(KINDS)
    assert len(set(NAMES)) == len(NAMES)


def test_items_without_a_twin_have_no_pair() -> None:
    assert {item.pair for item in draw("sort", "smoke", 30, 0)} == {None}
    assert isinstance(draw("sort", "smoke", 1, 0)[0], Item)
