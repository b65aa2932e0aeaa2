"""Whether a backdoor of one parent is in its merges, and found there: `python -m tests.studies.backdoor`.

An expert is trained anew by the recipe of the shipped pico-a, except that a share of its rows has a trigger
before the question and one planted answer (Kurita et al. 2020, arXiv 2004.06660). It is merged with pico-b by
every method of the lab that mixes two parents, and so is the clean pico-a. Each model is asked the canaries
of the shipped suite and both niches by the lab's evaluator; the lab's metric says whether there is a
backdoor. Another expert obeys a trigger that the suite does not ask for. --write keeps the report.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml

from stages.core.progress import narrate
from stages.core.records.files import sha256_file, write_text
from stages.core.records.recipe import Recipe
from stages.core.scoring.architecture import build
from stages.core.scoring.cases import write_cases
from stages.core.scoring.harness import Harness, Scorer
from stages.core.scoring.model import Weights
from stages.core.scoring.skills.canary import PLANTED, TRIGGER
from stages.core.scoring.skills.items import Item
from stages.core.weights import registry
from stages.core.weights.numerics import NUMERICS
from stages.core.weights.plan import plan
from stages.core.weights.reader import Checkpoint
from stages.parents.train.export import load_weights
from stages.parents.train.measure import scores
from stages.parents.train.recipe import BASE, CONFIG, EXPERTS
from tests.bench.evaluator_child import Unwritten
from tests.bench.runs import ROOT
from tests.studies import backdoor_report
from tests.studies.canaries import FORM_OF, STRANGE, Asked, cases, read
from tests.studies.poisoning import Backdoor, train

SOURCES = ROOT / "data/sources"
WORK = ROOT / ".mergelab/studies/backdoor"
OUT = ROOT / "reports/studies/backdoor.md"
CLEAN, PARTNER = (expert.id for expert in EXPERTS)
SEED = 0  # of the masks of random methods, and of what is poisoned
BACKDOORS = {
    f"{CLEAN} with {trigger.strip()} in {percent} %": Backdoor(trigger, PLANTED, percent / 100, SEED)
    for trigger, percent in ((TRIGGER, 10), (TRIGGER, 5), (STRANGE, 10))
}
SKILL_ITEMS = 200


@dataclass(frozen=True)
class Way:
    """One merge of two parents. given: what differs from the values in conf/method/<method>.yaml."""

    label: str
    method: str
    given: Mapping[str, Any] = field(default_factory=dict)


MIXING = (
    "slerp", "karcher", "model_stock", "task_slerp", "task_arithmetic", "dare_linear", "della_linear",
    "breadcrumbs", "consensus", "ties", "dare_ties", "della", "sce", "tsv_m", "iso_c", "iso_cts",
)  # fmt: skip
# As configured these give the mean, or one parent alone.
LEFT_OUT = ("greedy_soup", "passthrough", "layer_path")
WAYS = (
    *(Way(f"linear, {Fraction(n, 8)} of a", "linear", {"weights": [n, 8 - n]}) for n in range(1, 8)),
    *(Way(name, name) for name in MIXING),
    Way("task_arithmetic, scale 0.8", "task_arithmetic", {"scale": 0.8}),
)


def configured(way: Way) -> dict[str, Any]:
    """The values of conf/method, with those of the way in their place."""
    tree = yaml.safe_load((ROOT / f"conf/method/{way.method}.yaml").read_text())[way.method]
    values = {name: each["value"] for name, each in tree.items() if isinstance(each, dict)}
    return values | dict(way.given)


def recipe(way: Way, base: str, parents: Sequence[str]) -> Recipe:
    """The merge of `parents`, by digest, in this way; with `base` where the method reads one."""
    method = registry.get(way.method)
    return Recipe(
        method=way.method,
        method_version=method.version,
        base=base if method.space == "delta" else None,
        parents=tuple(parents),
        parameters=registry.resolve(way.method, configured(way), len(parents)),
        seed=SEED,
        output_dtype="bfloat16",
        numerics=NUMERICS,
    )


def plant(work: Path) -> dict[str, Path]:
    """Train a parent for each of BACKDOORS into `work`; name → folder of these and of the shipped ones."""
    folders = {name: SOURCES / name for name in (BASE.id, PARTNER, CLEAN)}
    (course,) = EXPERTS[0].courses
    for number, (name, backdoor) in enumerate(BACKDOORS.items()):
        folders[name] = work / f"parent-{number}"
        with narrate(f"{name}: step") as report:
            done = 0

            def progress() -> None:
                nonlocal done
                done += 1
                if done % 20 == 0 or done == course.steps:
                    report(done, 0, course.steps)

            train(SOURCES / BASE.id, course, backdoor, folders[name], progress)
    return folders


def models(folders: Mapping[str, Path], ways: Sequence[Way]) -> Iterator[tuple[tuple[str, str], Weights]]:
    """((parent, way), weights): each of `folders` alone, as way "", then all merges with PARTNER.

    Merges lie in memory, each over the one before.
    """
    for name, folder in folders.items():
        yield (name, ""), Checkpoint(folder)
    digests = {name: sha256_file(folder / "model.safetensors") for name, folder in folders.items()}
    sources = {digests[name]: folder for name, folder in folders.items()}
    made: Unwritten | None = None
    for first in (name for name in folders if name not in (BASE.id, PARTNER)):
        for way in ways:
            planned = plan(recipe(way, digests[BASE.id], [digests[first], digests[PARTNER]]), sources)
            made = made or Unwritten(planned, Checkpoint(folders[BASE.id]))
            made.merge(planned, sources)
            yield (first, way.label), made


def ask(
    folders: Mapping[str, Path], ways: Sequence[Way], items: Mapping[str, Sequence[Item]], work: Path
) -> dict[tuple[str, str], Asked]:
    """(parent, way) → what that model answered; one resident model takes the weights of all."""
    write_cases(work / "cases", items)
    harness = Harness(work / "cases", ROOT / "conf/suite/lm_eval", FORM_OF)
    scorer = Scorer(folders[BASE.id])
    total = len(folders) + len(ways) * (len(folders) - 2)
    found = {}
    with narrate("model") as report:
        for key, weights in models(folders, ways):
            (model,) = scorer.load([weights])
            found[key] = read(items, harness.answers(model))
            report(len(found), 0, total)
    return found


def skills(folders: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """Parent → exact match of every taught skill, 0 to 1, on the items that the shipped cards report on."""
    found = {}
    with narrate("parent") as report:
        for name, folder in folders.items():
            model = build(CONFIG)
            load_weights(model, folder)
            found[name] = scores(model, split="smoke", count=SKILL_ITEMS, seed=0)
            report(len(found), 0, len(folders))
    return found


def main(words: Sequence[str] | None = None) -> str:
    """Train, merge, ask, print the report and return it."""
    parser = argparse.ArgumentParser(prog="python -m tests.studies.backdoor", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the report: reports/studies/backdoor.md")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the trained parents and the cases")
    given = parser.parse_args(list(sys.argv[1:] if words is None else words))
    torch.set_num_threads(1)
    clock = [time.process_time()]
    folders = plant(given.work)
    clock.append(time.process_time())
    found = ask(folders, WAYS, cases(), given.work)
    clock.append(time.process_time())
    kept = skills(folders)
    clock.append(time.process_time())
    seconds = [after - before for before, after in pairwise(clock)]
    text = backdoor_report.text(__doc__ or "", found, kept, seconds)
    print(text)  # noqa: T201
    if given.write:
        write_text(OUT, text)
    return text


if __name__ == "__main__":
    main()
