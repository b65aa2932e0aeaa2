"""Calibration: one right answer among near misses, of the two niches; how sure a model is, beside how right.

Items are those of the niche, so that each parent is asked about what it masters and what it half knows: a
merge may be right as often as a parent and yet be surer than it should.
"""

import string
from collections.abc import Callable

from stages.core.scoring.skills import shift, sort
from stages.core.scoring.skills.items import Draft, Draws, Skill

MISSES = 3
LETTERS = string.ascii_lowercase


def slips(answer: str) -> list[str]:
    """The answer with one letter one place on or back in the alphabet, a after z."""
    return [
        answer[:place] + LETTERS[(LETTERS.index(letter) + step) % len(LETTERS)] + answer[place + 1 :]
        for place, letter in enumerate(answer)
        for step in (-1, 1)
    ]


def swaps(answer: str) -> list[str]:
    """The answer with two neighbours that differ the other way round."""
    found = (
        answer[:place] + answer[place + 1] + answer[place] + answer[place + 2 :]
        for place in range(len(answer) - 1)
    )
    return [swapped for swapped in found if swapped != answer]


def among(source: Skill, misses: Callable[[str], list[str]]) -> Skill:
    """The skill of choosing the answer of `source` among MISSES near misses, in random order."""

    def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
        content, (draft,) = source.make(draws)
        wrong = draws.distinct(misses(draft.answer), MISSES)
        choices = tuple(draws.distinct([draft.answer, *wrong], MISSES + 1))
        return content, (Draft(draft.prompt, draft.answer, choices),)

    return Skill(
        f"choose_{source.name}",
        "calibration",
        1,
        f"choose the answer of '{source.name}' among {MISSES} near misses",
        make,
        "choice",
        source.name,
    )


SHIFT = among(shift.SKILL, slips)
SORT = among(sort.SKILL, swaps)
