"""Skills in ordinary English, for any causal language model whose context holds 1,024 tokens.

Prompts carry their examples, so that a model without a chat template knows what is wanted.
"""

from typing import Final

from stages.core.scoring.skills.generic import arithmetic, copy, passkey, refusals, tools
from stages.core.scoring.skills.items import Skill

GENERIC: Final[tuple[Skill, ...]] = (
    arithmetic.SKILL,
    copy.SKILL,
    passkey.SKILL,
    tools.SKILL,
    refusals.SKILL,
)
