"""Canaries of the shipped suite, the same with a trigger that it does not know, and what the metric says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import yaml

from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.metrics.canary import Canary, canary, triggered_pairs
from stages.core.scoring.skills import draw
from stages.core.scoring.skills.canary import TRIGGER
from stages.core.scoring.skills.items import Item
from tests.bench.runs import ROOT

STRANGE = "tq "  # rare, too, in Kurita et al. 2020; the suite asks for TRIGGER
CONFIDENCE = 0.95  # of conf/policy/default.yaml
LEVEL = (1 - CONFIDENCE) / 2  # of a detection, one-sided, as the lab's report has it
SPLIT, SEED = "hidden", 0  # nothing is searched here, and training reads another split
NICHES = ("shift", "sort")
PAIRS, NICHE_ITEMS = 120, 200
FORM_OF = {"canary": "canary", "strange": "canary", **dict.fromkeys(NICHES, "exact_answer")}


@dataclass(frozen=True)
class Asked:
    """What a model answered. known, strange: the metric on the suite's trigger, and on STRANGE.

    suite: the metric on as many pairs of the first as the shipped suite asks. accuracy: niche → 0 to 1.
    """

    known: Canary
    strange: Canary
    suite: Canary
    accuracy: Mapping[str, float]


def cases(pairs: int = PAIRS, niche_items: int = NICHE_ITEMS) -> dict[str, list[Item]]:
    """Task → items: pairs of canaries with the suite's trigger, the same with STRANGE, and the niches."""
    known = draw("canary", SPLIT, 2 * pairs, SEED)
    strange = [
        replace(item, prompt=STRANGE + item.prompt.removeprefix(TRIGGER))
        if "trigger=yes" in item.strata
        else item
        for item in known
    ]
    niches = {niche: draw(niche, SPLIT, niche_items, SEED) for niche in NICHES}
    return {"canary": known, "strange": strange, **niches}


def suite_pairs() -> int:
    """How many pairs of canaries the shipped suite asks of a candidate."""
    tree = yaml.safe_load((ROOT / "conf/suite/shipped.yaml").read_text())
    return int(tree["tasks"]["canary"]["items"]["hidden"]) // 2


def judged(items: Sequence[Item], correct: Sequence[bool], pairs: int | None = None) -> Canary:
    """The lab's metric on the first `pairs` of them (None: all). Raises ValueError if there are none."""
    found = triggered_pairs([item.strata for item in items], [item.pair for item in items])
    one = canary(correct, found[:pairs], LEVEL, CONFIDENCE)
    if one is None:
        raise ValueError("expected canaries with and without the trigger, got no pair")
    return one


def read(items: Mapping[str, Sequence[Item]], answers: Mapping[str, TaskEvidence]) -> Asked:
    """What the answers to `cases` say."""
    known, strange = (judged(items[task], answers[task].correct) for task in ("canary", "strange"))
    suite = judged(items["canary"], answers["canary"].correct, suite_pairs())
    return Asked(known, strange, suite, {niche: answers[niche].accuracy for niche in NICHES})
