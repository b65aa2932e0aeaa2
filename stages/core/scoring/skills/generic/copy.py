"""Copying in English: a list of words, said again after two examples."""

from typing import Final

from stages.core.scoring.skills.items import Draft, Draws, Skill

WORDS: Final = (
    "apple", "river", "stone", "cloud", "table", "green", "music", "paper", "horse", "light", "bread",
    "window", "garden", "silver", "winter", "basket", "candle", "market", "bridge", "orange", "pocket",
    "ribbon", "ladder", "engine", "island", "mirror", "needle", "button", "carpet", "forest",
)  # fmt: skip
EXAMPLES = (
    "Words: lamp chair moon\nAgain: lamp chair moon\n\n"
    "Words: coat snow boat drum\nAgain: coat snow boat drum\n\n"
)


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """4 to 8 different words in random order."""
    words = " ".join(draws.distinct(WORDS, draws.between(4, 8)))
    return words, (Draft(f"{EXAMPLES}Words: {words}\nAgain:", f" {words}"),)


SKILL = Skill("english_copy", "shared", 1, "repeat a list of 4 to 8 words", make, "generate")
