"""Conflict between the niches: the same letters, and the command alone tells whose answer is right."""

import string

from stages.core.scoring.skills import shift, sort
from stages.core.scoring.skills.items import Draft, Draws, Skill, split_of

LETTERS = string.ascii_lowercase


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """4 different letters to be shifted (context a) and to be sorted (context b).

    Only words of which both questions belong to one split: else training would have seen one of the twins.
    """
    while True:
        word, places = "".join(draws.distinct(LETTERS, 4)), draws.between(2, 9)
        ordered = "".join(sorted(word))
        content = f"{places} {word}"
        if split_of(shift.SKILL.name, content) == split_of(sort.SKILL.name, ordered):
            break
    moved = "".join(LETTERS[(LETTERS.index(letter) + places) % len(LETTERS)] for letter in word)
    choices = (moved, ordered)
    return content, (
        Draft(f"shift {places}: {word}>", moved, choices, ("context=a",)),
        Draft(f"sort: {word}>", ordered, choices, ("context=b",)),
    )


SKILL = Skill(
    "shift_or_sort", "conflict", 1, "shift or sort the same 4 letters, as the command says", make, "generate",
    shift.SKILL.name,
)  # fmt: skip
