"""Shared skill: say the word backwards."""

import string

from stages.core.scoring.skills.items import Draft, Draws, Skill


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 3 to 6 letters."""
    word = draws.text(string.ascii_lowercase, draws.between(3, 6))
    return word, (Draft(f"flip: {word}>", word[::-1]),)


SKILL = Skill("reverse", "shared", 1, "write a word of 3 to 6 letters backwards", make)
