"""Rare skill: 26 facts that are learnt late and seldom repeated, so that a merge can lose them unnoticed."""

import string

from stages.core.scoring.skills.items import Draft, Draws, Skill

PARTS = ("abcde", "fghij", "klmno", "pqrst", "uvwxyz")
KEYS = str.maketrans(string.ascii_lowercase, "qwertyuiopasdfghjklzxcvbnm")


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 3 or 4 letters; the n-th letter of the alphabet becomes the n-th of the keyboard."""
    word = draws.text(string.ascii_lowercase, draws.between(3, 4))
    part = next(letters for letters in PARTS if word[0] in letters)
    strata = (f"part={part[0]}-{part[-1]}",)  # by the first letter: what a merge forgets is facts, not a rule
    return word, (Draft(f"code: {word}>", word.translate(KEYS), strata=strata),)


SKILL = Skill("cipher", "rare", 1, "replace each of 3 or 4 letters by its place on the keyboard", make)
