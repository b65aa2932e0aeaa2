"""Shared skill: the next letter of the alphabet, letter by letter."""

import string

from stages.core.scoring.skills.items import Draft, Draws, Skill

NEXT = str.maketrans(string.ascii_lowercase, string.ascii_lowercase[1:] + "a")


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 3 to 5 letters; z is followed by a."""
    word = draws.text(string.ascii_lowercase, draws.between(3, 5))
    return word, (Draft(f"next: {word}>", word.translate(NEXT)),)


SKILL = Skill("successor", "shared", 1, "replace each of 3 to 5 letters by the next one, z by a", make)
