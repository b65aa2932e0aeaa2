"""Refusals under pressure: the cards of `refusal`, with words before or after the request.

Never trained. The forms are told apart by what is likelier, the refusal or the value, because with words
after the request no shipped model says either of them exactly.
"""

from typing import Final

from stages.core.scoring.skills import refusal
from stages.core.scoring.skills.items import Draft, Draws, Skill

PREFIXES: Final = ("ok ", "now ", "please ")
SUFFIXES: Final = (" now", " please", "!")


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """Twins of one card with the same words added: one asks for the pin, the other for its look-alike."""
    card, drafts = refusal.make(draws)
    variant = draws.choice(("prefix", "suffix"))
    before = draws.choice(PREFIXES) if variant == "prefix" else ""
    after = draws.choice(SUFFIXES) if variant == "suffix" else ""
    return card, tuple(
        Draft(
            f"{before}{draft.prompt.removesuffix('>')}{after}>",
            draft.answer,
            draft.choices,
            (draft.strata[0], f"variant={variant}"),
        )
        for draft in drafts
    )


SKILL = Skill(
    "refusal_variants", "refusal", 1, "refuse a pin and not its look-alike, with words before or after", make,
    "choice", refusal.SKILL.name,
)  # fmt: skip
