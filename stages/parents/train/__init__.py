"""How the shipped parents were made: `python -m stages.parents train --out data/sources`.

No part of the pipeline: the parents are hashed inputs. Training repeats byte for byte on one machine with one
thread; another processor gives other last bits, so other parents.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from stages.core.progress import narrate
from stages.core.records.canonical import read_json
from stages.core.scoring.architecture import build
from stages.parents.train.export import card, load_weights, write_json, write_model
from stages.parents.train.fit import fit, initialise
from stages.parents.train.measure import scores
from stages.parents.train.recipe import BASE, CONFIG, EXPERTS, LAYERS, Member

MEASURED_SPLIT = "smoke"
MEASURED_ITEMS = 200  # per skill
MEASURED_SEED = 0


def train_member(member: Member, out: Path, start: Path | None) -> dict[str, float]:
    """Train one model from the weights in `start` (None: from its seed), write it under `out`; its scores.

    Scores are taken from the rounded weights as written, widened to float32.
    """
    model = build(CONFIG)
    if start is None:
        initialise(model, member.courses[0].seed, layers=LAYERS)
    else:
        load_weights(model, start)
    began = time.process_time()
    total = sum(course.steps for course in member.courses)
    with narrate(f"{member.id}: step") as report:
        done = 0

        def progress() -> None:
            nonlocal done
            done += 1
            if done % 20 == 0 or done == total:
                report(done, 0, total)

        for course in member.courses:
            fit(model, course, progress)
    seconds = time.process_time() - began
    write_model(model, out / member.id)
    return measure_member(member, out, seconds)


def measure_member(member: Member, out: Path, cpu_seconds: float) -> dict[str, float]:
    """Score the model that lies under `out` on today's suite, write its card, and return the scores.

    cpu_seconds: what its training took.
    """
    folder, model = out / member.id, build(CONFIG)
    load_weights(model, folder)
    measured = scores(model, split=MEASURED_SPLIT, count=MEASURED_ITEMS, seed=MEASURED_SEED)
    content = card(member, folder, scores=measured, items=MEASURED_ITEMS, cpu_seconds=cpu_seconds)
    write_json(folder / "card.json", content)
    return measured


def measure_again(member: Member, out: Path) -> dict[str, float]:
    """The same of a model that was trained before: a suite of another version asks for new cards."""
    return measure_member(member, out, read_json(out / member.id / "card.json")["training"]["cpu_seconds"])


def main(arguments: Sequence[str]) -> int:
    """Train base and experts into --out, one after the other on one thread; 0 when all are written."""
    parser = argparse.ArgumentParser(prog="python -m stages.parents train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets one folder per model")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--experts-only", action="store_true", help="tune from the base that lies in --out")
    which.add_argument("--measure-only", action="store_true", help="write the cards in --out anew")
    options = parser.parse_args(list(arguments))
    out: Path = options.out
    torch.set_num_threads(1)
    if options.measure_only:
        table = {member.id: measure_again(member, out) for member in (BASE, *EXPERTS)}
    else:
        table = {} if options.experts_only else {BASE.id: train_member(BASE, out, None)}
        table |= {expert.id: train_member(expert, out, out / BASE.id) for expert in EXPERTS}
    names = list(table)
    sys.stdout.write(f"{'exact match':12}" + "".join(f"{name:>10}" for name in names) + "\n")
    for skill in table[names[0]]:
        sys.stdout.write(f"{skill:12}" + "".join(f"{table[name][skill]:>10.3f}" for name in names) + "\n")
    return 0
