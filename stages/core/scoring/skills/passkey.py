"""Long context: a four-digit key somewhere in up to 240 characters of filler."""

from typing import Final

from stages.core.scoring.skills.items import Draft, Draws, Skill

WORDS: Final = ("sun", "sea", "sky", "oak", "elm", "fog", "ice", "bay")
LENGTHS: Final = (60, 120, 180, 240)  # characters (= tokens) of the whole prompt, at most
DEPTHS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the filler that stands before the key


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """Filler words of 3 letters around one key, at one of 4 lengths and 5 depths."""
    length, depth = draws.choice(LENGTHS), draws.choice(DEPTHS)
    key = draws.text("0123456789", 4)
    words = [draws.choice(WORDS) for _ in range((length - len("key0000 key")) // 4)]
    before = round(depth * len(words))
    prompt = " ".join([*words[:before], f"key{key}", *words[before:], "key"])
    return prompt, (Draft(prompt, key, strata=(f"length={length}", f"depth={depth:g}")),)


SKILL = Skill("passkey", "long_context", 1, "repeat the four-digit key hidden in 60 to 240 characters", make)
