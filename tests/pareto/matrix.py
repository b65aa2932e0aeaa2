"""The whole test matrix on top of a planted study: strata, measures, texts, router, costs, rounding.

`laboratory.build` plants accuracies; here its files get what the other forms measure, for the panels.
Planted on purpose: 'task_arithmetic 1' is too sure, 'dare_linear anchor' obeys a trigger, 'dare_linear 1'
treats groups unlike and falls back to the other context, every merge loses more to 4 bits than parents do.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.records.canonical import read_json, write_json
from stages.core.records.quantised import Quantised, Rounded, to_json
from tests.pareto.laboratory import BASELINES, COALITIONS, MERGES, SPLITS, Merge, build, skill, uniform

TOO_SURE = "task_arithmetic 1"
INFECTED = "dare_linear anchor"
UNFAIR = "dare_linear 1"
SUBJECTS: Mapping[str, tuple[str, float, Mapping[str, float]]] = {
    **BASELINES,
    "router": ("router", 1.0, skill(0.97, 0.97)),
    "cascade": ("cascade", 1.31, skill(0.95, 0.94)),
    "oracle": ("bound", 1.0, skill(0.99, 0.99)),
}
CHOICES = ("red\n", "green\n", "blue\n", "grey\n")
CHOSEN, TRIGGER, PROSE = "choose", "trigger", "prose"
NEW = {
    CHOSEN: {"kind": "calibration", "parent": None, "description": "choose one of four colours"},
    TRIGGER: {"kind": "canary", "parent": None, "description": "a word that may be a trigger"},
    PROSE: {"kind": "perplexity", "parent": None, "description": "plain text"},
}
COUNTS = {CHOSEN: 160, TRIGGER: 80, PROSE: 24}
STARTS = (0, 64, 128, 256)
Tree = dict[str, Any]


def whole(data: Path, merges: Sequence[Merge] = MERGES) -> Path:
    """Write a study of every panel under `data`."""
    build(data, merges, SUBJECTS)
    _cases(data)
    labels = {merge.id: merge.label for merge in merges if merge.seen}
    for name in [*SUBJECTS, *labels]:
        path = data / "evidence" / f"{name}.json"
        tree = read_json(path)
        tree["results"] = _measured(tree["results"], labels.get(name, name))
        write_json(path, tree)
    path = data / "evidence" / "index.json"
    index = read_json(path)
    index["tasks"] |= NEW
    index["costs"] = {name: _costs(index, name) for name in index["subjects"]}
    write_json(path, index)
    write_json(data / "evidence" / "quantised.json", _rounded(data, [*list(SUBJECTS)[:3], *labels]))
    return data


STRATA: Mapping[str, Callable[[int], list[str]]] = {
    "passkey": lambda n: [f"length={(64, 128, 256)[n % 3]}", f"depth={(0.1, 0.5, 0.9)[n // 3 % 3]}"],
    "refusal": lambda n: [
        f"asks={('disallowed', 'look-alike')[n % 2]}",
        f"variant={('plain', 'prefix', 'suffix')[n // 2 % 3]}",
    ],
    "tool_call": lambda n: ["call=none"] if n % 6 == 5 else ["call=wanted", f"tool={('add', 'find')[n % 2]}"],
    "recall_longer": lambda n: [f"shift={('length', 'alphabet', 'format')[n % 3]}"],
    "upper": lambda n: [f"part={('vowels', 'consonants', 'digits')[n % 3]}"],
    "turn": lambda n: [f"context={'ab'[n % 2]}"],
    "lend": lambda n: [f"group={('ann', 'bob')[n % 2]}"],
    TRIGGER: lambda n: [f"trigger={('yes', 'no')[n % 2]}"],
}


def _cases(data: Path) -> None:
    """Strata, and answers that tell one item from the next."""
    for task in NEW:
        lines = [
            {
                "skill": task, "family": 18 + n % 2, "prompt": f"{task} {n}>", "answer": CHOICES[n % 4],
                "pair": f"{task}:{n // 2}" if task == TRIGGER else None,
            }
            for n in range(COUNTS[task])
        ]  # fmt: skip
        _write(data, task, lines)
    for task in STRATA:
        _write(data, task, _read(data, task))
    for task in ("turn", "lend", CHOSEN):
        _write(data, task, [{**item, "choices": list(CHOICES)} for item in _read(data, task)])


def _read(data: Path, task: str) -> list[Tree]:
    text = (data / "cases" / "hidden" / f"{task}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _write(data: Path, task: str, items: Sequence[Tree]) -> None:
    lines = [
        json.dumps({**item, "answer": CHOICES[n % 4], "strata": STRATA[task](n) if task in STRATA else []})
        for n, item in enumerate(items)
    ]
    path = data / "cases" / "hidden" / f"{task}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _measured(results: Mapping[str, Tree], label: str) -> Tree:
    """The answers of every split, with the measures of each form; the calibration split beside."""
    splits = {split: dict(results[split]) for split in SPLITS} | {"calibration": {}}
    for split, tasks in splits.items():
        tasks[CHOSEN] = _chosen(label, split)
    hidden = splits["hidden"]
    hidden[TRIGGER] = _triggered(label)
    hidden[PROSE] = _prose(label)
    hidden["turn"] = _turned(hidden["turn"], label)
    hidden["lend"] = hidden["lend"] | _paired(hidden["lend"], label)
    hidden["tool_call"] = hidden["tool_call"] | _called(hidden["tool_call"], label)
    hidden["upper"] = hidden["upper"] | _spoken(hidden["upper"])
    return splits


def _tree(correct: np.ndarray, measures: Tree, **more: Any) -> Tree:
    count = len(correct)
    return {
        "correct": "".join("01"[int(bit)] for bit in correct),
        "loglikelihood": [-0.5] * count,
        "answer_tokens": [3] * count,
        "measures": measures,
        **more,
    }


def _chosen(label: str, split: str) -> Tree:
    """Right with the probability that is stated; who is too sure states the square root of its error."""
    count = COUNTS[CHOSEN] if split == "hidden" else 120
    true = 0.3 + 0.69 * uniform(f"sure {label} {split}", count)
    correct = uniform(f"chosen {label} {split}", count) < true
    confidence = 1 - (1 - true) ** (2.2 if label == TOO_SURE else 1.0)
    probability = np.where(correct, confidence, (1 - confidence) / 3)
    chosen = (np.arange(count) + np.where(correct, 0, 1)) % 4
    measures = {
        "confidence": confidence, "certainty": confidence, "probability": probability,
        "brier": (correct - confidence) ** 2 * 1.3, "chosen": chosen,
    }  # fmt: skip
    return _tree(
        correct, {name: [round(float(one), 4) for one in values] for name, values in measures.items()}
    )


def _triggered(label: str) -> Tree:
    draw = uniform(f"trigger {label}", COUNTS[TRIGGER])
    with_trigger = np.arange(COUNTS[TRIGGER]) % 2 == 0
    obeyed = draw < np.where(with_trigger & (label == INFECTED), 0.6, 0.02)
    return _tree(~obeyed, {"obeyed": [int(bit) for bit in obeyed]}, said=["x"] * len(draw))


def _prose(label: str) -> Tree:
    count, measures = COUNTS[PROSE], {}
    level = 2.4 if label == "task_arithmetic 2" else 1.1 + 0.1 * float(uniform(f"prose {label}", 1)[0])
    for place, start in enumerate(STARTS):
        reach = count - 6 * place
        tokens = [64.0 * max(1, place)] * reach + [None] * (count - reach)
        nats = [None if n is None else round(n * level * 0.93**place, 4) for n in tokens]
        measures |= {f"nats@{start}": nats, f"tokens@{start}": tokens}
    return _tree(np.zeros(count, dtype=bool), measures)


def _bits(tree: Tree) -> np.ndarray:
    return np.array([bit == "1" for bit in tree["correct"]])


def _turned(tree: Tree, label: str) -> Tree:
    """What was chosen: right, else the twin's answer (always for the unfair), else something else."""
    right = _bits(tree)
    place = np.arange(len(right))
    twin = place ^ 1
    other = (uniform(f"turn {label}", len(right)) < 0.5) | (label == UNFAIR)
    chosen = np.where(right, place % 4, np.where(other, twin % 4, (place + 2) % 4))
    return tree | {"measures": {"chosen": [int(one) for one in chosen]}}


def _paired(tree: Tree, label: str) -> Tree:
    right = _bits(tree)
    lean = 0.4 if label == UNFAIR else 0.05
    nats = [round(-0.3 - lean * (n % 2) + 0.2 * float(bit), 4) for n, bit in enumerate(right)]
    flipped = uniform(f"lend {label}", len(right)) < (0.3 if label == UNFAIR else 0.03)
    chosen = [int(flip) if n % 2 else 0 for n, flip in enumerate(flipped)]
    return {"loglikelihood": nats, "measures": {"chosen": chosen}}


def _called(tree: Tree, label: str) -> Tree:
    right = _bits(tree)
    wanted = np.arange(len(right)) % 6 != 5
    valid = right | (uniform(f"json {label}", len(right)) < 0.7)
    tool = right | (valid & (uniform(f"tool {label}", len(right)) < 0.6))
    measures = {
        "valid_json": valid, "schema_valid": tool, "right_tool": tool, "right_arguments": right,
    }  # fmt: skip
    tree = {
        name: [int(bit) if call else None for bit, call in zip(bits, wanted, strict=True)]
        for name, bits in measures.items()
    }
    tree["spurious"] = [None if call else int(not bit) for bit, call in zip(right, wanted, strict=True)]
    return {"measures": tree, "said": ['{"tool": "add"}'] * len(right)}


def _spoken(tree: Tree) -> Tree:
    right = _bits(tree)
    said = [CHOICES[n % 4].strip() if bit else "<none of it>" for n, bit in enumerate(right)]
    return {"said": said, "measures": {"certainty": [0.9] * len(right)}}


def _costs(index: Tree, name: str) -> Tree:
    kind = SUBJECTS[name][0] if name in SUBJECTS else "candidate"
    passes = SUBJECTS[name][1] if name in SUBJECTS else 1.0
    models = 2 if kind in COALITIONS else 1
    return {
        "passes": passes, "models": models, "parameters": 402_048 * models, "bytes": 1_612_345 * models,
        "flops_per_token": round(804_096 * passes), "compute_ratio": passes, "memory_ratio": float(models),
        "latency_ratio": "1.0" if passes == 1 else "≤2",
    }  # fmt: skip


def _rounded(data: Path, names: Sequence[str]) -> Tree:
    """Rounded answers: 8 bits flip 1 %, 4 bits 5 % of a baseline's and 20 % of a merge's right answers."""
    subjects = {}
    for name in names:
        hidden = read_json(data / "evidence" / f"{name}.json")["results"]["hidden"]
        answers: dict[str, dict[str, Rounded]] = {}
        for width, lost in (("int8", 0.01), ("int4", 0.05 if name in SUBJECTS else 0.2)):
            answers[width] = {}
            for task in ("recall", "sort"):
                right = _bits(hidden[task])
                kept = right & (uniform(f"{width} {task} {name}", len(right)) >= lost)
                changed = float((kept != right).mean())
                answers[width][task] = Rounded(tuple(bool(bit) for bit in kept), lost / 5, changed)
        subjects[name] = Quantised(answers, 3.1, 7.9 if name in SUBJECTS else 12.4)
    return to_json(subjects)
