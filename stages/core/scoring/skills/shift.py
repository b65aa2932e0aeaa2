"""Niche A: modular arithmetic on letters."""

import string
from typing import Final

from stages.core.scoring.skills.items import Draft, Draws, Skill

LETTERS: Final = string.ascii_lowercase


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 3 or 4 letters, each moved 2 to 9 places on in the alphabet; a follows z."""
    word = draws.text(LETTERS, draws.between(3, 4))
    places = draws.between(2, 9)
    moved = "".join(LETTERS[(LETTERS.index(letter) + places) % len(LETTERS)] for letter in word)
    return f"{places} {word}", (Draft(f"shift {places}: {word}>", moved),)


SKILL = Skill("shift", "niche:a", 1, "move 3 or 4 letters 2 to 9 places on in the alphabet, modulo 26", make)
