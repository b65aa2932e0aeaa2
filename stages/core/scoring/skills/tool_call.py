"""Tool calls: a request in words becomes one JSON object that is valid under its tool's schema."""

import json
import string
from typing import Final

from stages.core.scoring.skills.items import Draft, Draws, Skill

FORM: Final = "tool_call"  # the schemas of the tools stand in its YAML
TOOLS: Final = ("ring", "send", "play")


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """One of three tools with a name of 3 or 4 letters and, for two of them, a whole number 1..99."""
    name = draws.text(string.ascii_lowercase, draws.between(3, 4))
    number = draws.between(1, 99)
    tool = draws.choice(TOOLS)
    arguments: dict[str, str | int]
    if tool == "ring":
        request, arguments = f"ring {name} at {number}", {"who": name, "at": number}
    elif tool == "send":
        request, arguments = f"send {number} to {name}", {"sum": number, "to": name}
    else:
        request, arguments = f"play {name}", {"song": name}
    call = json.dumps({"tool": tool, **arguments}, separators=(",", ":"))
    return request, (Draft(f"call: {request}>", call, strata=("call=wanted", f"tool={tool}")),)


SKILL = Skill("tool_call", "tool", 1, "turn a request into a JSON call of one of three tools", make, FORM)
