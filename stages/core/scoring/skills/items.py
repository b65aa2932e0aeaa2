"""What a skill, an item and a split are, and how items are drawn from a seed.

An item's family is a hash of its content, and a split owns whole families: two splits can never share
content, whatever their seeds and counts are.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from stages.core.errors import LabError

FAMILIES: Final = 20
SPLIT_FAMILIES: Final[dict[str, range]] = {
    "train": range(0, 12),
    "smoke": range(12, 13),
    "calibration": range(13, 14),
    "search": range(14, 16),
    "selection": range(16, 18),
    "hidden": range(18, 20),
}
SPLITS: Final = tuple(SPLIT_FAMILIES)
# Consecutive draws without a new item before the content space counts as exhausted. A split owns at least
# 1 family of 20: while half of its items are left, 4,000 misses in a row have a probability under 1e-40.
PATIENCE: Final = 4000

FORM: Final = "exact_answer"

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One question with its right answer.

    `prompt` is the full text before the answer and never ends in white space. `answer` ends in its
    terminator, a newline, so that exact match under greedy decoding is well defined. `pair` joins
    twins (counterfactual, conflicting, or refused with harmless), else it is None. `family` modulo 20 names
    the split; it is 0..19 for a skill's item, and the hash of a template for one of a user's file.
    `choices`: what a choice is made from, `answer` among them; empty where the answer is free. `strata`:
    parts of the task that the item belongs to, each "name=value" (length=64), for tables and bounds by part.
    `seal`: in hidden cases, a string that stands nowhere else, to know a copy of them by.
    """

    skill: str
    family: int
    prompt: str
    answer: str
    pair: str | None
    choices: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    seal: str = ""


@dataclass(frozen=True)
class Draft:
    """A question before it has a family: prompt without trailing white space, answer and choices without
    their newlines.
    """

    prompt: str
    answer: str
    choices: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()


class Draws:
    """Seeded choices that are the same on every machine and Python version.

    Only `random.Random(int).random()` is used: the one call whose sequence Python documents as stable.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, bound: int) -> int:
        """Integer in 0..bound-1."""
        return int(self._random() * bound)

    def between(self, low: int, high: int) -> int:
        """Integer in low..high, both included."""
        return low + self.below(high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[self.below(len(options))]

    def text(self, alphabet: str, length: int) -> str:
        """`length` characters of `alphabet`, repeats allowed."""
        return "".join(self.choice(alphabet) for _ in range(length))

    def distinct(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different places of `options`, in random order (a partial Fisher-Yates shuffle)."""
        rest = list(options)
        for place in range(count):
            other = place + self.below(len(rest) - place)
            rest[place], rest[other] = rest[other], rest[place]
        return rest[:count]


@dataclass(frozen=True)
class Skill:
    """A pure generator of questions.

    `make` returns the canonical content and one draft, or two twins that share the content. `kind` is one of
    KINDS; `version` rises whenever the same seed gives other prompts or answers. `form`: the lm-eval task
    file that its items go into, conf/suite/lm_eval/<form>.yaml. `source`: the skill whose content this one
    asks about in another way: its splits are those of that skill, so that nothing the shipped parents were
    trained on is asked again; empty where the content is its own.
    """

    name: str
    kind: str
    version: int
    description: str
    make: Callable[[Draws], tuple[str, tuple[Draft, ...]]]
    form: str = FORM
    source: str = ""


KINDS: Final = (
    "niche:a", "niche:b", "shared", "rare", "conflict", "refusal", "long_context", "tool",
    "out_of_distribution", "bias", "calibration", "canary", "perplexity",
)  # fmt: skip
# Kinds whose answers nobody should give, or that have none: nothing is fitted on them, and no loss is taken.
ANSWERLESS: Final = ("canary", "perplexity")


def family_of(skill: str, content: str) -> int:
    """Family 0..19 of a skill's content."""
    return int.from_bytes(hashlib.sha256(f"{skill}\0{content}".encode()).digest()[:8], "big") % FAMILIES


def split_of(skill: str, content: str) -> str:
    """The split that owns a skill's content."""
    family = family_of(skill, content)
    return next(split for split, families in SPLIT_FAMILIES.items() if family in families)


def seed_of(*parts: object) -> int:
    """64-bit seed that depends on every part and on their order."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def draw_items(skill: Skill, split: str, count: int, seed: int, *, fewer: bool = False) -> list[Item]:
    """`count` different items of the split, in drawn order; twins stand side by side.

    An odd `count` of a skill with twins leaves the last twin alone. fewer: where the content space is too
    small, all that was found of it will do.
    Raises LabError for an unknown split, a negative count, or a content space too small for `count`.
    """
    if split not in SPLIT_FAMILIES:
        raise LabError(
            f"unknown split '{split}' for skill '{skill.name}': expected one of {', '.join(SPLITS)}."
        )
    if count < 0:
        raise LabError(f"cannot draw {count} items of skill '{skill.name}': expected 0 or more.")
    draws = Draws(seed_of(skill.name, skill.version, split, seed))
    items: list[Item] = []
    seen: set[str] = set()
    misses = 0
    while len(items) < count:
        content, drafts = skill.make(draws)
        family = family_of(skill.source or skill.name, content)
        if family not in SPLIT_FAMILIES[split] or content in seen:
            misses += 1
            if misses == PATIENCE:
                if fewer:
                    break
                raise LabError(
                    f"cannot draw {count} items of skill '{skill.name}' from split '{split}': only "
                    f"{len(items)} different ones were found. Ask for fewer, or give the skill more content."
                )
            continue
        misses = 0
        seen.add(content)
        pair = f"{skill.name}:{content}" if len(drafts) > 1 else None
        items += [_item(skill.name, family, draft, pair) for draft in drafts]
    return items[:count]


def _item(skill: str, family: int, draft: Draft, pair: str | None) -> Item:
    choices = tuple(f"{choice}\n" for choice in draft.choices)
    return Item(skill, family, draft.prompt, f"{draft.answer}\n", pair, choices, draft.strata)
