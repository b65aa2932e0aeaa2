"""What a judge says about one generated text, and how it reads its settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from stages.core.records.canonical import Json
from stages.core.scoring.skills.items import Item


@dataclass(frozen=True)
class Judgement:
    """correct: whether the text does what the item asks. measures: what else was seen, None where it does not
    apply; the same names for every item of a judge.
    """

    correct: bool
    measures: Mapping[str, bool | None] = field(default_factory=dict)


Judge: TypeAlias = Callable[[str, Item], Judgement]  # generated text without its stop string, and its item
Settings: TypeAlias = Mapping[str, Json]  # of the form's `metadata.judge`, without its name


class BadSettings(ValueError):
    """Settings that a judge cannot use. The message is a phrase that follows the judge's name."""


def only(settings: Settings, *known: str) -> None:
    """Raises BadSettings naming every key that is not one of `known`."""
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise BadSettings(f"unknown key(s) {', '.join(unknown)} (there are: {', '.join(known) or 'none'})")


def stratum(item: Item, name: str) -> str | None:
    """The value of the stratum `name`=value of an item; None if it has none."""
    values = (text.partition("=") for text in item.strata)
    return next((value for key, _, value in values if key == name), None)
