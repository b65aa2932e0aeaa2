"""Skills: pure functions of seeded draws, one a file, and the items that test them.

TAUGHT are those that the shipped parents were trained on; the rest of PICO, their matrix, asks about the same
content in other ways. GENERIC skills are ordinary English, for any checkpoint. To add a skill, add its file
and one line to a list. Everything here is plain Python: no model, no file, no global generator.
"""

from typing import Final

from stages.core.errors import LabError
from stages.core.scoring.skills import (
    canary,
    choose,
    cipher,
    copy,
    lend,
    no_call,
    passkey,
    recital,
    refusal,
    refusal_variants,
    reverse,
    shift,
    shift_or_sort,
    sort,
    sort_longer,
    successor,
    successor_written,
    tool_call,
    turn,
    upper,
    upper_mixed,
)
from stages.core.scoring.skills.generic import GENERIC
from stages.core.scoring.skills.items import KINDS, SPLITS, Item, Skill, draw_items

__all__ = ["GENERIC", "KINDS", "PICO", "SKILLS", "SPLITS", "TAUGHT", "Item", "Skill", "draw", "skill_named"]

# What stages/parents/train knows: the cards of the shipped parents hold a score for each, in this order.
TAUGHT: Final[tuple[Skill, ...]] = (
    shift.SKILL,
    sort.SKILL,
    copy.SKILL,
    reverse.SKILL,
    successor.SKILL,
    upper.SKILL,
    cipher.SKILL,
    turn.SKILL,
    refusal.SKILL,
    passkey.SKILL,
    tool_call.SKILL,
    sort_longer.SKILL,
    lend.SKILL,
)
PICO: Final[tuple[Skill, ...]] = (
    *TAUGHT,
    choose.SHIFT,
    choose.SORT,
    shift_or_sort.SKILL,
    refusal_variants.SKILL,
    canary.SKILL,
    no_call.SKILL,
    upper_mixed.SKILL,
    successor_written.SKILL,
    recital.SKILL,
)
SKILLS: Final[tuple[Skill, ...]] = (*PICO, *GENERIC)


def skill_named(name: str) -> Skill:
    """The skill of that name. Raises LabError if there is none."""
    for skill in SKILLS:
        if skill.name == name:
            return skill
    raise LabError(f"unknown skill '{name}': expected one of {', '.join(skill.name for skill in SKILLS)}.")


def draw(skill: str, split: str, count: int, seed: int, *, fewer: bool = False) -> list[Item]:
    """`count` different items, or `fewer` where there are no more; the same on every machine.

    Splits never share content, whatever the seeds. Raises LabError as `draw_items` does.
    """
    return draw_items(skill_named(skill), split, count, seed, fewer=fewer)
