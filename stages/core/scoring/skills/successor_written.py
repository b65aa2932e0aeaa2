"""Out-of-distribution skill: the question of `successor`, written in a way that training never had."""

from typing import Final

from stages.core.scoring.skills import successor
from stages.core.scoring.skills.items import Draft, Draws, Skill

FORMS: Final = ("Next: ", " next: ", "next; ")


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 3 to 5 letters after the command with a capital, a space before it or a semicolon."""
    word, (draft,) = successor.make(draws)
    prompt = draws.choice(FORMS) + draft.prompt.removeprefix("next: ")
    return word, (Draft(prompt, draft.answer, strata=("shift=format", "from=successor")),)


SKILL = Skill(
    "successor_written", "out_of_distribution", 1, "the next letters, asked for in another format", make,
    source=successor.SKILL.name,
)  # fmt: skip
