"""What a candidate costs to evaluate: `python -m tests.bench.evaluator`.

*Ours* is one process that builds the model once, merges every candidate straight into it and puts all tasks
to it. *Peer* is what one would do by hand: write the merge, start lm-eval's command line on the folder, with
the same task files and cases. Both answer alike (accuracies are compared, and must agree); only seconds
differ, and these are reported, never asserted. --models smollm2 fetches SmolLM2-135M into its own folder.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from stages.core.records.canonical import read_json
from stages.core.records.files import sha256_file, write_text
from stages.core.records.recipe import Recipe
from stages.core.scoring.cases import TaskPlan, draw_cases, write_cases
from stages.core.scoring.skills import PICO
from stages.core.scoring.skills.items import Item
from stages.core.weights import engine, registry, writer
from stages.core.weights.numerics import NUMERICS
from stages.core.weights.plan import plan
from tests.bench import runs, smollm
from tests.bench.evaluator_child import now
from tests.bench.report import machine, table
from tests.bench.runs import ROOT, Run

FORMS = ROOT / "conf/suite/lm_eval"
SOURCES = ROOT / "data/sources"
PARENTS = ("pico-a", "pico-b")
OUT = ROOT / "reports/bench/evaluator.md"
MANY = 20  # candidates that a worker evaluates, for the share of its start
DIFFERENT = 1e-9  # of accuracies: both count the same right answers


@dataclass
class World:
    """What both sides are given. sources: digest → folder of a parent; form_of: task → form."""

    sources: Mapping[str, Path]
    cases: Path
    form_of: Mapping[str, str]
    items: int


Seconds = tuple[float, float]  # of wall, of processor time


@dataclass
class Found:
    """Seconds per candidate and part, of ours and of the peer; of our start, once a round.

    beside: seconds per candidate of `workers` processes of ours at once.
    """

    world: World
    ours: list[dict[str, Seconds]] = field(default_factory=list)
    workers: int = 1
    beside: list[Seconds] = field(default_factory=list)
    start: list[Seconds] = field(default_factory=list)
    peer: list[dict[str, Seconds]] = field(default_factory=list)
    accuracy: list[dict[str, float]] = field(default_factory=list)


def pico(place: Path, items: int) -> World:
    """The shipped parents, and the search items of every skill in their matrix."""
    tasks = {skill.name: TaskPlan(skill.name, {"search": items}, skill.form) for skill in PICO}
    write_cases(place / "cases", draw_cases(tasks, "search", 0))
    sources = {_digest(SOURCES / name): SOURCES / name for name in PARENTS}
    return World(
        sources, place / "cases", {name: task.form for name, task in tasks.items()}, items * len(tasks)
    )


def smollm2(place: Path, items: int) -> World:
    """SmolLM2-135M and a perturbed copy; few-shot tasks, whose examples stand before every question."""
    folders = smollm.parents(place)
    cases: dict[str, list[Item]] = smollm.tasks(items)
    write_cases(place / "cases", cases)
    sources = {_digest(folder): folder for folder in folders}
    return World(sources, place / "cases", smollm.FORM_OF, items * len(cases))


MODELS = {"pico": pico, "smollm2": smollm2}


def recipe(world: World, share: float) -> Recipe:
    """The mean of the two parents with that share of the first."""
    return Recipe(
        method="linear",
        method_version=registry.get("linear").version,
        base=None,
        parents=tuple(world.sources),
        parameters=registry.resolve("linear", {"weights": [share, 1 - share]}, len(world.sources)),
        seed=0,
        output_dtype="bfloat16",
        numerics=NUMERICS,
    )


def ours(world: World, recipes: Sequence[Recipe], found: Found) -> None:
    """One process for all recipes; then `found.workers` at once, each for a share of them."""
    run, lines = _child(world, recipes)
    parts = [{part: tuple(seconds) for part, seconds in line["seconds"].items()} for line in lines]
    found.ours += parts
    found.accuracy = [line["accuracy"] for line in lines]
    spent = [whole(each) for each in parts]
    found.start.append((run.wall - sum(wall for wall, _ in spent), run.cpu - sum(cpu for _, cpu in spent)))
    with ThreadPoolExecutor(found.workers) as pool:
        shares = [recipes[place :: found.workers] for place in range(found.workers)]
        told = [line for _, part in pool.map(partial(_child, world), shares) for line in part]
    together = [whole(line["seconds"]) for line in told]
    found.beside += [(wall / found.workers, cpu) for wall, cpu in together]


def _child(world: World, recipes: Sequence[Recipe]) -> tuple[Run, list[dict[str, Any]]]:
    """One process of ours, and what it said of each recipe."""
    job = {
        "sources": {digest: str(folder) for digest, folder in world.sources.items()},
        "cases": str(world.cases),
        "forms": str(FORMS),
        "form_of": dict(world.form_of),
        "recipes": [each.to_json() for each in recipes],
    }
    run, text = runs.command(
        [sys.executable, "-m", "tests.bench.as_worker", "tests.bench.evaluator_child"],
        _environment(),
        json.dumps(job),
    )
    return run, [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def whole(parts: Mapping[str, Seconds]) -> Seconds:
    """All parts of a candidate together."""
    return sum(wall for wall, _ in parts.values()), sum(cpu for _, cpu in parts.values())


def peer(world: World, candidate: Recipe, place: Path) -> tuple[dict[str, Seconds], dict[str, float]]:
    """Seconds of writing the merge and of lm-eval's command, and the accuracies that it printed."""
    output, tasks = place / "merged", place / "tasks"
    shutil.rmtree(output, ignore_errors=True)  # of the candidate before
    began = now()
    planned = plan(candidate, world.sources)
    writer.preallocate(planned, output)
    manifests = {
        digest: {file.name: sha256_file(file) for file in folder.glob("*.safetensors")}
        for digest, folder in world.sources.items()
    }
    engine.execute(planned, world.sources, manifests, output)
    first = next(iter(world.sources.values()))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (output / name).write_bytes((first / name).read_bytes())
    written = now()
    tasks.mkdir(exist_ok=True)
    for task, form in world.form_of.items():
        tree = yaml.safe_load((FORMS / f"{form}.yaml").read_text())
        tree |= {
            "task": f"bench_{task}",
            "dataset_kwargs": {"data_files": {"test": str(world.cases / f"{task}.jsonl")}},
        }
        (tasks / f"{task}.yaml").write_text(yaml.safe_dump(tree))
    words = ["run", "--model", "hf", "--device", "cpu", "--batch_size", "16", "--include_path", str(tasks)]
    words += [
        "--model_args",
        f"pretrained={output},dtype=float32",
        "--output_path",
        str(place / "results.json"),
    ]
    words += ["--tasks", ",".join(f"bench_{task}" for task in world.form_of)]
    environment = {**_environment(), "HF_DATASETS_CACHE": str(place / "datasets")}
    run, _ = runs.command([sys.executable, "-m", "lm_eval", *words], environment)
    (results,) = place.glob("results*.json")
    told = read_json(results)["results"]
    results.unlink()
    accuracy = {
        task: score
        for task in world.form_of
        for metric in ("acc,none", "exact_match,none")
        if (score := told[f"bench_{task}"].get(metric)) is not None
    }
    writing = written[0] - began[0], written[1] - began[1]
    return {"write": writing, "lm_eval": (run.wall, run.cpu)}, accuracy


def measure(model: str, items: int, asked: argparse.Namespace, place: Path) -> Found:
    """Run everything that was asked for. Raises AssertionError where both do not answer alike."""
    world = MODELS[model](place, items)
    found = Found(world, workers=asked.workers)
    recipes = [recipe(world, (number + 1) / (asked.candidates + 1)) for number in range(asked.candidates)]
    for number in range(asked.peers):  # in turns, so that what else the machine does falls on both
        ours(world, recipes, found)
        seconds, accuracy = peer(world, recipes[number], place)
        found.peer.append(seconds)
        for task, score in accuracy.items():
            if judged_alike(world.form_of[task]) and abs(score - found.accuracy[number][task]) > DIFFERENT:
                raise AssertionError(f"{task}: lm-eval says {score}, we {found.accuracy[number][task]}")
        _say(f"{model}: candidate {number + 1}: peer {whole(seconds)[0]:.1f} s")
    return found


def judged_alike(form: str) -> bool:
    """Whether lm-eval's own metric judges as we do: it knows no judges of ours."""
    tree = yaml.safe_load((FORMS / f"{form}.yaml").read_text())
    return bool(tree["metadata"].get("judge", {"name": "equality"}) == {"name": "equality"})


def section(model: str, found: Found) -> str:
    """The table of one model."""
    own, other = [whole(parts) for parts in found.ours], [whole(parts) for parts in found.peer]
    middle = [median([run[kind] for run in other]) for kind in (0, 1)]
    rows = {"peer: write the merge, start lm-eval on it": other}
    rows |= {f"… {part}": [run[part] for run in found.peer] for part in found.peer[0]}
    lines = [[name, *_spreads(runs), "", ""] for name, runs in rows.items()]
    ratios = [f"{middle[kind] / median([run[kind] for run in own]):.1f} ×" for kind in (0, 1)]
    lines.append(["ours: merge into the resident model, answer", *_spreads(own), *ratios])
    starts = list(zip(*found.start, strict=True))
    lines += [[f"… {part}", *_spreads([run[part] for run in found.ours]), "", ""] for part in found.ours[0]]
    lines.append(["our start, once a process", *_spreads(found.start), "", ""])
    shared = [median([run[kind] for run in own]) + median(starts[kind]) / MANY for kind in (0, 1)]
    ratios = [f"{middle[kind] / shared[kind]:.1f} ×" for kind in (0, 1)]
    lines.append(
        [f"ours with its start, shared by {MANY} candidates", *(f"{s:.2f}" for s in shared), *ratios]
    )
    if found.beside:
        pace = [median([run[kind] for run in found.beside]) for kind in (0, 1)]
        ratios = [f"{middle[kind] / pace[kind]:.1f} ×" for kind in (0, 1)]
        lines.append([f"ours, {found.workers} processes at once", *_spreads(found.beside), *ratios])
    title = f"{model}: {found.world.items} items in {len(found.world.form_of)} tasks"
    title += f"; {len(found.accuracy)} candidates of ours in each of {len(other)} rounds, one of the peer"
    return table(title, ["per candidate", "wall s", "CPU s", "peer / ours, wall", "peer / ours, CPU"], lines)


def report(sections: Sequence[str], words: Sequence[str], load: float) -> str:
    """The whole file."""
    text = "# The evaluator beside lm-eval's command line\n\n" + (__doc__ or "").split("\n\n", 1)[1]
    text += (
        "\nMedian (least–greatest), seconds; CPU is user + system. The machine is shared: trust CPU first.\n"
    )
    text += machine("python -m tests.bench.evaluator", words, load)
    return text + "".join(sections) + WHERE


WHERE = """
Where the rest goes. *Peer*: interpreter and imports, lm-eval's index of all its built-in tasks, data sets
read and requests rendered again, the model built and loaded again, every prompt run again for each choice and
each generation, logits and their normalisation over the whole vocabulary at every place. *Ours*: nearly all
of *answers* is the forward pass itself; the rest is gathering and decoding. One thread on both sides. With
several processes at once, as the pipeline deals candidates to workers, a candidate takes its wall time
divided by their number; the peer runs one command at a time.
"""


def _environment() -> dict[str, str]:
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **offline, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _digest(folder: Path) -> str:
    return sha256_file(folder / "model.safetensors")


def _spreads(found: Sequence[Seconds]) -> list[str]:
    """Median (least–greatest) of wall and of processor time."""
    return [f"{median(of):.2f} ({min(of):.2f}–{max(of):.2f})" for of in zip(*found, strict=True)]


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    words = argparse.ArgumentParser(prog="python -m tests.bench.evaluator", description=__doc__)
    words.add_argument("--models", default="pico", help=f"the parents, by comma: {', '.join(MODELS)}")
    words.add_argument("--items", default="40", help="of each task: one number, or one a model, by comma")
    words.add_argument("--candidates", type=int, default=10, help="that ours evaluates, in one process")
    words.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes of ours at once")
    words.add_argument("--peers", type=int, default=3, help="rounds: one candidate of the peer in each")
    words.add_argument("--folder", type=Path, help="where folders are made; removed afterwards")
    words.add_argument("--out", type=Path, default=OUT)
    return words


def main(words: Sequence[str] | None = None) -> dict[str, Found]:
    """Measure, write the report, and return the figures of each model."""
    given = list(sys.argv[1:] if words is None else words)
    asked = arguments().parse_args(given)
    load = os.getloadavg()[0]
    found = {}
    models, items = asked.models.split(","), [int(each) for each in asked.items.split(",")]
    for model, many in zip(models, items if len(items) > 1 else items * len(models), strict=True):
        with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bench-") as place:
            found[model] = measure(model, many, asked, Path(place))
    text = report([section(model, each) for model, each in found.items()], given, load)
    _say(text)
    write_text(asked.out, text)
    return found


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
