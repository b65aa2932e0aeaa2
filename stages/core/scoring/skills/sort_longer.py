"""Out-of-distribution skill: sort more letters than any training item has."""

from stages.core.scoring.skills import sort
from stages.core.scoring.skills.items import Draft, Draws, Skill


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """7 or 8 letters; `sort` stops at 6. Not trained on: report it, do not require it."""
    return sort.letters(draws, draws.between(7, 8), "shift=length", "from=sort")


SKILL = Skill("sort_longer", "out_of_distribution", 1, "sort 7 or 8 letters, never trained", make)
