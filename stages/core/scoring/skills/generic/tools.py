"""Tool calls in English: a request becomes one JSON call of three tools, or none where no tool helps."""

import json
from typing import Final

from stages.core.scoring.skills.items import Draft, Draws, Skill

NAMES: Final = ("Ada", "Ben", "Eva", "Kim", "Leo", "Mia", "Tom", "Zoe")
CITIES: Final = (
    "Oslo", "Rome", "Lima", "Cairo", "Paris", "Delhi", "Quito", "Seoul", "Lyon", "Turin", "Osaka", "Accra",
    "Dakar", "Hanoi", "Sofia", "Tunis",
)  # fmt: skip
MATTERS: Final = ("the train leaves", "dinner is ready", "the shop closes", "the meeting starts")
TOPICS: Final = (
    "rain",
    "cats",
    "the sea",
    "tea",
    "winter",
    "trains",
    "maps",
    "bread",
    "owls",
    "snow",
    "music",
)
TALK: Final = (
    "Tell me a joke about {}.",
    "Write a line about {}.",
    "Do you like {}?",
    "What rhymes with {}?",
)
HEAD: Final = (
    'Answer each request with one JSON call of a tool, or with "none" if no tool helps.\n'
    'Tools: {"tool": "weather", "city": text}, {"tool": "alarm", "hour": number, "minute": number}, '
    '{"tool": "message", "to": text, "text": text}\n\n'
    'Request: How is the weather in Madrid?\nCall: {"tool": "weather", "city": "Madrid"}\n\n'
    "Request: Tell me a story about owls.\nCall: none\n\n"
    'Request: Wake me at 6:30.\nCall: {"tool": "alarm", "hour": 6, "minute": 30}\n\n'
    "Request: Tell Max that we eat at 8.\n"
    'Call: {"tool": "message", "to": "Max", "text": "we eat at 8"}\n\n'
)


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """One request; a quarter wants no call."""
    tool = draws.choice(("weather", "alarm", "message", "none"))
    call: dict[str, str | int]
    if tool == "weather":
        city, day = draws.choice(CITIES), draws.choice(("today", "tomorrow", "on Monday", "on Friday"))
        request, call = f"How is the weather in {city} {day}?", {"city": city}
    elif tool == "alarm":
        hour, minute = draws.between(5, 22), draws.between(1, 59)
        request, call = f"Wake me at {hour}:{minute:02d}.", {"hour": hour, "minute": minute}
    elif tool == "message":
        name, matter = draws.choice(NAMES), f"{draws.choice(MATTERS)} at {draws.between(2, 11)}"
        request, call = f"Tell {name} that {matter}.", {"to": name, "text": matter}
    else:
        request, call = draws.choice(TALK).format(draws.choice(TOPICS)), {}
    answer = json.dumps({"tool": tool, **call}) if call else "none"
    strata = ("call=wanted" if call else "call=none", f"tool={tool}")
    return request, (Draft(f"{HEAD}Request: {request}\nCall:", f" {answer}", strata=strata),)


SKILL = Skill(
    "english_tools", "tool", 1, "answer a request with a JSON call, or with none", make, "english_tools"
)
