"""The skills that the shipped parents have, and the items that test them.

A skill is one file: a pure function of seeded draws. To add one, add its file and one line to SKILLS.
Everything here is plain Python: no model, no file, no global generator.
"""

from typing import Final

from stages.core.errors import LabError
from stages.core.scoring.skills import (
    cipher,
    copy,
    lend,
    passkey,
    refusal,
    reverse,
    shift,
    sort,
    sort_longer,
    successor,
    tool_call,
    turn,
    upper,
)
from stages.core.scoring.skills.items import KINDS, SPLITS, Item, Skill, draw_items

__all__ = ["KINDS", "SKILLS", "SPLITS", "Item", "Skill", "draw", "skill_named"]

SKILLS: Final[tuple[Skill, ...]] = (
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


def skill_named(name: str) -> Skill:
    """The skill of that name. Raises LabError if there is none."""
    for skill in SKILLS:
        if skill.name == name:
            return skill
    raise LabError(f"unknown skill '{name}': expected one of {', '.join(skill.name for skill in SKILLS)}.")


def draw(skill: str, split: str, count: int, seed: int) -> list[Item]:
    """`count` different items, the same on every machine for the same arguments.

    Splits never share content, whatever the seeds. Raises LabError as `draw_items` does.
    """
    return draw_items(skill_named(skill), split, count, seed)
