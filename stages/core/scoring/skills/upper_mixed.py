"""Out-of-distribution skill: a capital letter among those to be made capital; no training prompt has one."""

from stages.core.scoring.skills import upper
from stages.core.scoring.skills.items import Draft, Draws, Skill


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 4 to 6 letters, one of them capital already."""
    word, (draft,) = upper.make(draws)
    place = draws.below(len(word))
    mixed = word[:place] + word[place].upper() + word[place + 1 :]
    return word, (Draft(f"upper: {mixed}>", draft.answer, strata=("shift=alphabet", "from=upper")),)


SKILL = Skill(
    "upper_mixed", "out_of_distribution", 1, "write a word in capitals of which one letter is one", make,
    source=upper.SKILL.name,
)  # fmt: skip
