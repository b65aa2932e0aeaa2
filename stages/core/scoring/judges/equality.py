"""Equality: the text is the answer, white space at both ends apart."""

from stages.core.scoring.judges.outcome import Judge, Judgement, Settings, only
from stages.core.scoring.skills.items import Item


def judge(settings: Settings) -> Judge:
    """ignore_case: compare casefolded texts; false unless given. Raises BadSettings."""
    only(settings, "ignore_case")
    fold = bool(settings.get("ignore_case", False))

    def judged(said: str, item: Item) -> Judgement:
        texts = [text.strip().casefold() if fold else text.strip() for text in (said, item.answer)]
        return Judgement(texts[0] == texts[1])

    return judged
