"""Long context in English: a pass key in a text that says nothing else.

Source: Mohtashami and Jaggi 2023 (2305.16300), section 4.2, with shorter texts: every context of 1,024 holds
them.
"""

from typing import Final

from stages.core.scoring.skills.items import Draft, Draws, Skill

TOKENS: Final = (100, 200, 400, 800)  # of the whole prompt, about: a word and its share of marks are 1.25
WORDS_A_TOKEN: Final = 0.8
DEPTHS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the filler that stands before the key
FILLER: Final = (
    "The grass is green.", "The sky is blue.", "The sun is yellow.", "Here we go.", "There and back again.",
    "The road is long.", "The lake is deep.", "The night is calm.",
)  # fmt: skip
START: Final = "There is a pass key in this text. Find it and remember it."
KEY: Final = "The pass key is {key}. Remember it. {key} is the pass key."
QUESTION: Final = "What is the pass key? The pass key is"


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """Sentences in random order around one key of five digits, at one of 4 lengths and 5 depths."""
    tokens, depth = draws.choice(TOKENS), draws.choice(DEPTHS)
    key = draws.text("123456789", 5)
    words = round(tokens * WORDS_A_TOKEN) - len(f"{START} {KEY} {QUESTION}".split())
    filler: list[str] = []
    while sum(len(sentence.split()) for sentence in filler) < words:
        filler.append(draws.choice(FILLER))
    before = round(depth * len(filler))
    text = " ".join([START, *filler[:before], KEY.format(key=key), *filler[before:], QUESTION])
    return text, (Draft(text, f" {key}", strata=(f"length={tokens}", f"depth={depth:g}")),)


SKILL = Skill(
    "english_passkey", "long_context", 1, "find a pass key in 100 to 800 tokens of English", make, "contains"
)
