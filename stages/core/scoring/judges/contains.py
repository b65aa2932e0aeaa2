"""Containment: the answer stands somewhere in the text, as whole words unless told otherwise."""

import re

from stages.core.scoring.judges.outcome import Judge, Judgement, Settings, only
from stages.core.scoring.skills.items import Item


def judge(settings: Settings) -> Judge:
    """ignore_case: compare casefolded texts; parts_of_words: "12" is in "4127". Both false unless given.

    Raises BadSettings.
    """
    only(settings, "ignore_case", "parts_of_words")
    fold, parts = (bool(settings.get(key, False)) for key in ("ignore_case", "parts_of_words"))

    def judged(said: str, item: Item) -> Judgement:
        text, answer = (each.strip().casefold() if fold else each.strip() for each in (said, item.answer))
        edge = "" if parts else r"(?<!\w){}(?!\w)"
        return Judgement(
            answer in text if parts else re.search(edge.format(re.escape(answer)), text) is not None
        )

    return judged
