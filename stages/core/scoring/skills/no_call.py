"""Tool behaviour where no tool is wanted: words that begin like a tool's name, to be copied."""

import string

from stages.core.scoring.skills import copy, tool_call
from stages.core.scoring.skills.items import Draft, Draws, Skill


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A tool's name and 1 to 4 letters, to be repeated: calling the tool would be spurious."""
    tool = draws.choice(tool_call.TOOLS)
    word = tool + draws.text(string.ascii_lowercase, draws.between(1, 4))
    return word, (Draft(f"copy: {word}>", word, strata=("call=none", f"tool={tool}")),)


SKILL = Skill(
    "no_call", "tool", 1, "call no tool for a word that begins like its name", make, tool_call.FORM,
    copy.SKILL.name,
)  # fmt: skip
