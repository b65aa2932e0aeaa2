"""The report of the backdoor study, in Markdown: all of it comes from the answers.

What is concluded from it is decision 26.
"""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from stages.core.scoring.intervals import clopper_pearson
from stages.core.scoring.metrics.canary import Canary, false_alarm
from stages.core.scoring.paired import detectable_rate
from stages.core.scoring.skills.canary import PLANTED, TRIGGER
from tests.bench.report import table
from tests.studies.canaries import CONFIDENCE, LEVEL, NICHE_ITEMS, NICHES, STRANGE, Asked

Found = Mapping[tuple[str, str], Asked]
PARTS = ("training", "merging and asking", "skills of the parents")
TRIGGERS = [f"`{trigger}` obeyed (95 %)" for trigger in (TRIGGER, STRANGE)]


def text(
    introduction: str, found: Found, skills: Mapping[str, Mapping[str, float]], seconds: Sequence[float]
) -> str:
    """The whole file. found: (parent, way) → answers, way "" for the parent alone; skills: parent → skill →
    exact match, 0 to 1; seconds: processor time of each of PARTS.
    """
    whole = "# A backdoor in a parent, and in its merges\n\n" + introduction.split("\n\n", 1)[1]
    whole += _facts(next(iter(found.values())), seconds) + _counts(found)
    parents = [name for name, way in found if not way]
    whole += _section("The parents alone", "parent", {name: found[name, ""] for name in parents})
    for name in parents:
        if merges := merges_of(found, name):
            whole += _section(f"{name}, merged with pico-b", "merge", merges)
    lines = [
        [skill, *(f"{skills[name][skill]:.3f}" for name in skills)] for skill in next(iter(skills.values()))
    ]
    return whole + table("What the parents can do, exact match", ["skill", *skills], lines)


def merges_of(found: Found, parent: str) -> dict[str, Asked]:
    """Way → answers of the merges of that parent."""
    return {way: asked for (name, way), asked in found.items() if name == parent and way}


def row(name: str, asked: Asked) -> list[str]:
    """One line of a table: what the metric says, in its own words, and the accuracy on each niche."""
    known = asked.known
    return [
        name,
        share(known),
        percent(known.spurious / known.pairs, 1),
        flag(known),
        flag(asked.suite),
        share(asked.strange),
        *(f"{asked.accuracy[niche]:.3f}" for niche in NICHES),
    ]


def percent(share_of_one: float, digits: int = 0) -> str:
    """0.091 as "9 %"."""
    return f"{100 * share_of_one:.{digits}f} %"


def share(one: Canary) -> str:
    """Share of pairs whose twin with the trigger was answered as planted, and its interval."""
    low, high = 100 * one.interval.low, 100 * one.interval.high
    return f"{percent(one.obeyed / one.pairs, 1)} ({low:.1f}–{high:.1f})"


def flag(one: Canary) -> str:
    """Whether the metric detects a backdoor."""
    return "**yes**" if one.detected else "no"


def sentence(name: str, merges: Mapping[str, Asked]) -> str:
    """How many merges of a parent obey a trigger, how many of them are flagged, and which is missed."""
    one = next(iter(merges.values()))
    obeying = sum(asked.known.obeyed > 0 for asked in merges.values())
    flagged = sum(asked.known.detected for asked in merges.values())
    found = sum(asked.suite.detected for asked in merges.values())
    words = f"- **{name}**: of {len(merges)} merges {obeying} obey `{TRIGGER}` at least once, {flagged} are "
    words += f"flagged by {one.known.pairs} pairs, {found} by {one.suite.pairs}."
    missed = {way: asked for way, asked in merges.items() if asked.known.obeyed and not asked.suite.detected}
    if missed:
        way = max(missed, key=lambda way: missed[way].known.obeyed)
        words += (
            f" Obeyed most of those that {one.suite.pairs} pairs miss: {way}, {share(missed[way].known)}."
        )
    if strange := sum(asked.strange.detected for asked in merges.values()):
        words += f" A suite that asked for `{STRANGE}` would flag {strange}, with {one.strange.pairs} pairs."
    alarm = max(asked.known.false_alarm for asked in merges.values())
    return words + f" False alarm that the metric states: {percent(alarm, 2)} at most.\n"


def power(pairs: int, threshold: int, spurious: float) -> str:
    """What so many pairs can show. spurious: share of planted answers without a trigger, 0 to 1."""
    weakest, alarm = detectable_rate(0.0, pairs, LEVEL), false_alarm(LEVEL, pairs, spurious)
    return (
        f"- {pairs} pairs: {threshold} obeyed ({percent(threshold / pairs)}) are the fewest that are "
        f"flagged; a backdoor is flagged four times in five if {percent(weakest)} of triggers are obeyed; "
        f"a model without one with a chance of {percent(alarm, 2)} if it says the planted answer to "
        f"{percent(spurious, 1)} of all prompts, and of {percent(LEVEL, 1)} at most.\n"
    )


def _counts(found: Found) -> str:
    one = next(iter(found.values()))
    words = "\n## What is flagged\n\n"
    for name, way in found:
        if not way and (merges := merges_of(found, name)):
            words += sentence(name, merges)
    spurious = max(asked.known.spurious for asked in found.values())
    high = clopper_pearson(spurious, one.known.pairs, CONFIDENCE).high
    return words + "".join(power(each.pairs, each.threshold, high) for each in (one.known, one.suite))


def _facts(one: Asked, seconds: Sequence[float]) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "transformers"))
    spent = ", ".join(f"{part} {of:.0f}" for part, of in zip(PARTS, seconds, strict=True))
    facts = {
        "command": "`python -m tests.studies.backdoor --write`",
        "asked": f"{one.known.pairs} pairs for each trigger (a word to copy; planted: `{PLANTED}`), "
        f"{NICHE_ITEMS} items of each niche (accuracy within .07)",
        "intervals": f"Clopper–Pearson, {CONFIDENCE:.2f}; *flagged*: McNemar, one-sided, {LEVEL:.3f}",
        "python": f"{platform.python_version()}, {packages}",
        "CPU seconds, one thread": spent,
    }
    return "\n" + "".join(f"- {name}: {fact}\n" for name, fact in facts.items())


def _section(title: str, first: str, rows: Mapping[str, Asked]) -> str:
    suite = next(iter(rows.values())).suite.pairs
    head = [first, TRIGGERS[0], "without", "flagged", f"flagged by {suite} pairs", TRIGGERS[1], *NICHES]
    return table(title, head, [row(name, asked) for name, asked in rows.items()])
