"""Niche B: letters in alphabetical order."""

import string

from stages.core.scoring.skills.items import Draft, Draws, Skill


def letters(draws: Draws, count: int, *strata: str) -> tuple[str, tuple[Draft, ...]]:
    """`count` different letters to be sorted; every order of the same letters is the same content."""
    word = "".join(draws.distinct(string.ascii_lowercase, count))
    content = "".join(sorted(word))
    return content, (Draft(f"sort: {word}>", content, strata=strata),)


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """4 to 6 different letters."""
    return letters(draws, draws.between(4, 6))


SKILL = Skill("sort", "niche:b", 1, "put 4 to 6 different letters in alphabetical order", make)
