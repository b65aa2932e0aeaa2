"""Perplexity by position: questions and answers of shared skills, line after line, read as one text.

The shipped parents learnt answers alone, so that their nats of a question are high and mean little by
themselves; between models of the family they compare. No part of the text is right or wrong.
"""

from typing import Final

from stages.core.scoring.skills import copy, reverse, successor, upper
from stages.core.scoring.skills.items import Draft, Draws, Skill

SOURCES: Final = (copy, reverse, successor, upper)
LINES: Final = 9  # of 15 to 23 characters: at most 207, of a context of 256


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """LINES questions with their answers; the last answer is the item's."""
    drafts = [draws.choice(SOURCES).make(draws)[1][0] for _ in range(LINES)]
    before = "".join(f"{draft.prompt}{draft.answer}\n" for draft in drafts[:-1])
    last = drafts[-1]
    return before + last.prompt, (Draft(before + last.prompt, last.answer),)


SKILL = Skill("recital", "perplexity", 1, "nine questions with their answers, as one text", make, "rolling")
