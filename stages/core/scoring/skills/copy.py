"""Shared skill: say the word again."""

import string

from stages.core.scoring.skills.items import Draft, Draws, Skill


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 4 to 8 letters."""
    word = draws.text(string.ascii_lowercase, draws.between(4, 8))
    return word, (Draft(f"copy: {word}>", word),)


SKILL = Skill("copy", "shared", 1, "repeat a word of 4 to 8 letters", make)
