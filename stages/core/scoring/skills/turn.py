"""Conflicting prompts: one question, two right answers, told apart by a mode marker alone."""

import string

from stages.core.scoring.skills.items import Draft, Draws, Skill


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A word of 4 or 5 letters in mode x (first letter goes last) and in mode y (last letter goes first)."""
    word = draws.text(string.ascii_lowercase, draws.between(4, 5))
    answers = word[1:] + word[0], word[-1] + word[:-1]
    drafts = (
        Draft(f"mode {mode}, turn: {word}>", answer, tuple(dict.fromkeys(answers)), (f"context={mode}",))
        for mode, answer in zip("xy", answers, strict=True)
    )
    return word, tuple(drafts)


SKILL = Skill(
    "turn",
    "conflict",
    1,
    "rotate a word of 4 or 5 letters: left in mode x, right in mode y",
    make,
    "generate",
)
