"""Shared skill: capital letters, which no other skill asks for."""

import string

from stages.core.scoring.skills.items import Draft, Draws, Skill


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 4 to 6 letters."""
    word = draws.text(string.ascii_lowercase, draws.between(4, 6))
    return word, (Draft(f"upper: {word}>", word.upper()),)


SKILL = Skill("upper", "shared", 1, "write a word of 4 to 6 letters in capitals", make)
