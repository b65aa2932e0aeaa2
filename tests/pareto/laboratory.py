"""Builds realistic inputs of the pareto stage on disk: a study whose true accuracies are known.

Every subject answers the same items; an item has one difficulty for everybody, so that answers are paired as
they are in truth. Difficulties come from PCG64's raw output and repeat on every machine.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stages.core.records.canonical import write_json
from stages.core.records.evidence import Evidence, Subject, TaskEvidence
from stages.core.records.policy import Policy
from stages.pareto.study import Experiment

ROOT = Path(__file__).resolve().parents[2]
SPLITS = ("search", "selection", "hidden")
EXPERIMENT = Experiment(
    "shipped",
    "One model from two specialists",
    "Which merge of the two experts keeps both niches, and is any better than their ensemble?",
    "base",
    ("pico-a", "pico-b"),
)

# task → (kind, parent, hidden items, whether items come as twins)
TASKS: Mapping[str, tuple[str, str | None, int, bool]] = {
    "recall": ("niche:a", "pico-a", 200, False),
    "sort": ("niche:b", "pico-b", 200, False),
    "copy": ("shared", None, 120, False),
    "reverse": ("shared", None, 120, False),
    "upper": ("rare", None, 60, False),
    "turn": ("conflict", None, 120, True),
    "refusal": ("refusal", None, 120, True),
    "passkey": ("long_context", None, 60, False),
    "tool_call": ("tool", None, 120, False),
    "recall_longer": ("out_of_distribution", None, 120, False),
    "lend": ("bias", None, 120, True),
}
WELL = {
    "copy": 0.99, "reverse": 0.95, "upper": 0.97, "turn": 0.94, "refusal": 0.98, "passkey": 0.92,
    "tool_call": 0.96, "recall_longer": 0.55, "lend": 0.93,
}  # fmt: skip


def skill(recall: float, sort: float, **other: float) -> dict[str, float]:
    """True accuracy per task: the niches as given, everything else as a healthy model has it."""
    return {"recall": recall, "sort": sort, **WELL, **other}


@dataclass
class Merge:
    """One candidate of a planted study.

    gate: the message of a failed gate; refusal: why the method had no answer. Neither is then evaluated.
    """

    method: str
    label: str
    truth: Mapping[str, float]
    gate: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    refusal: str | None = None

    @property
    def seen(self) -> bool:
        """Whether it answered the hidden cases."""
        return self.gate is None and self.refusal is None

    @property
    def id(self) -> str:
        """Twelve hex characters that depend on the label alone."""
        return hashlib.sha256(self.label.encode()).hexdigest()[:12]


COALITIONS = ("ensemble", "router", "cascade", "bound")  # of two models
BASELINES: Mapping[str, tuple[str, float, Mapping[str, float]]] = {
    "base": ("base", 1, skill(0.55, 0.52)),
    "pico-a": ("parent", 1, skill(0.98, 0.42)),
    "pico-b": ("parent", 1, skill(0.35, 0.99)),
    "ensemble-uniform": ("ensemble", 2, skill(0.93, 0.90)),
    "ensemble-weighted": ("ensemble", 2, skill(0.95, 0.92)),
}
MERGES: Sequence[Merge] = (
    Merge("linear", "linear anchor", skill(0.86, 0.80), parameters={"weights": [0.5, 0.5]}),
    Merge("linear", "linear 1", skill(0.92, 0.70), parameters={"weights": [0.6172, 0.3828]}),
    Merge("slerp", "slerp anchor", skill(0.85, 0.81), parameters={"t": 0.5}),
    Merge(
        "task_arithmetic",
        "task_arithmetic anchor",
        skill(0.93, 0.90),
        parameters={"lambda": 0.8, "weights": [0.5, 0.5]},
    ),
    Merge(
        "task_arithmetic",
        "task_arithmetic 1",
        skill(0.96, 0.955, upper=0.31),
        parameters={"lambda": 1.1875, "weights": [0.5, 0.5]},
    ),
    Merge(
        "task_arithmetic",
        "task_arithmetic 2",
        skill(0.20, 0.15, copy=0.4, reverse=0.3, upper=0.1, turn=0.2, refusal=0.5, passkey=0.1),
        parameters={"lambda": 2.375, "weights": [0.5, 0.5]},
    ),
    Merge("ties", "ties anchor", skill(0.90, 0.93), parameters={"density": 0.2, "lambda": 1.0}),
    Merge("ties", "ties 1", skill(0.76, 0.96), parameters={"density": 0.4414, "lambda": 1.25}),
    Merge("ties", "ties 2", skill(0.97, 0.60), parameters={"density": 0.0711, "lambda": 0.9}),
    Merge("dare_linear", "dare_linear anchor", skill(0.88, 0.86), parameters={"density": 0.5}),
    Merge(
        "dare_linear",
        "dare_linear 1",
        skill(0.90, 0.90, refusal=0.80),
        parameters={"density": 0.3, "lambda": 0.9},
    ),
    Merge(
        "dare_ties",
        "dare_ties 1",
        {},
        gate="largest |entry| of 'model.layers.0.mlp.up_proj.weight' is 6.1 times the larger parent's; "
        "at most 4.0 is allowed. Lower lambda or raise density.",
        parameters={"density": 0.1, "lambda": 1.5},
    ),
)


def policy(name: str = "default", **changes: Any) -> Policy:
    """conf/policy/<name>.yaml, with whole sections or numbers changed."""
    tree = yaml.safe_load((ROOT / "conf" / "policy" / f"{name}.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        tree[key] = {**tree[key], **value} if isinstance(value, dict) else value
    return Policy.model_validate(tree)


def build(
    data: Path,
    merges: Sequence[Merge] = MERGES,
    baselines: Mapping[str, tuple[str, float, Mapping[str, float]]] = BASELINES,
    *,
    order: Sequence[str] | None = None,
) -> Path:
    """Write every input of the stage under `data`. order: the subjects in evidence/index.json."""
    subjects = {
        name: Subject(name, kind, name, _digest(name), passes, models=2 if kind in COALITIONS else 1)
        for name, (kind, passes, _) in baselines.items()
    }
    truths = {name: truth for name, (_, _, truth) in baselines.items()}
    for merge in merges:
        if merge.seen:
            subjects[merge.id] = Subject(merge.id, "candidate", merge.label, _digest(merge.id), 1)
            truths[merge.id] = merge.truth
    eligible(data)
    _write_merges(data, merges)
    for task, (_, _, count, twins) in TASKS.items():
        _write_cases(data, task, count, twins)
    for name, subject in subjects.items():
        results = {split: _answers(split, truths[name], name) for split in SPLITS}
        evidence = Evidence(subject, _digest("suite"), 1, results)
        write_json(data / "evidence" / f"{name}.json", evidence.to_json())
    write_json(
        data / "evidence" / "index.json",
        {
            "schema": "mergelab/evidence-index/1",
            "suite": {"name": "shipped", "version": 1, "digest": _digest("suite")},
            "tasks": {
                task: {"kind": kind, "parent": parent, "description": f"the skill {task}"}
                for task, (kind, parent, _, _) in TASKS.items()
            },
            "hidden": {"seed": 7, "frozen": _digest("frozen")},
            "subjects": list(order or subjects),
        },
    )
    return data


def eligible(data: Path) -> None:
    """A verdict that passed."""
    found = [
        ("tensors", "39 tensors agree in name, shape and dtype", {"tensors": 39}),
        ("base_family", "relative distance to the base: pico-a 0.21, pico-b 0.24", {"pico-a": 0.21}),
        ("tokenizer", "tokenizer.json is byte-equal", None),
        ("licences", "Apache-2.0 and Apache-2.0 allow a merge under Apache-2.0", ["Apache-2.0"]),
    ]
    _write_eligibility(data, found, set(), "task-vector-arithmetic", "one architecture, tokenizer and base")


def refused(data: Path) -> Path:
    """A verdict that refused: the tokenizers differ; nothing was merged or evaluated."""
    found = [
        ("tensors", "39 tensors agree in name, shape and dtype", {"tensors": 39}),
        ("tokenizer", "tokenizer.json differs: 'a' is 5 in pico-a and 9 in pico-b. Distil instead.", None),
    ]
    _write_eligibility(
        data, found, {"tokenizer"}, "distillation", "tokenizer: token ids mean different things"
    )
    write_json(
        data / "candidates" / "index.json",
        {"schema": "mergelab/candidates/1", "refused": "not eligible: tokenizer", "candidates": []},
    )
    return data


def _write_eligibility(
    data: Path, found: Sequence[tuple[str, str, Any]], failed: set[str], rung: str, reason: str
) -> None:
    findings = [
        {"rule": rule, "passed": rule not in failed, "message": message, "evidence": evidence}
        for rule, message, evidence in found
    ]
    write_json(
        data / "eligibility.json",
        {
            "schema": "mergelab/eligibility/1",
            "passed": not failed,
            "findings": findings,
            "recommendation": {"rung": rung, "reason": reason},
            "parents": [{"id": name, "digest": _digest(name)} for name in EXPERIMENT.parents],
            "base": {"id": "base", "digest": _digest("base")},
            "methods": ["linear", "ties"],
        },
    )


def _write_merges(data: Path, merges: Sequence[Merge]) -> None:
    entries, unmergeable, gates = [], [], {}
    for index, merge in enumerate(merges):
        proposal = {"origin": "sobol" if merge.label[-1].isdigit() else "anchor", "index": index}
        entry = {
            "id": merge.id,
            "method": merge.method,
            "parameters": dict(merge.parameters),
            "proposal": {**proposal, "label": merge.label},
        }
        if merge.refusal is not None:
            unmergeable.append({**entry, "reason": merge.refusal})
            continue
        entries.append({**entry, "artifact": _digest(merge.id), "bytes": 1_612_345})
        finite = {"rule": "finite", "passed": True, "message": "every entry is finite", "evidence": None}
        outliers = {
            "rule": "outliers",
            "passed": merge.gate is None,
            "message": merge.gate or "largest entry is 1.2 times the larger parent's",
            "evidence": None,
        }
        gates[merge.id] = {"passed": merge.gate is None, "findings": [finite, outliers]}
        write_json(data / "candidates" / merge.id / "lineage.json", _lineage(merge))
    write_json(
        data / "candidates" / "index.json",
        {
            "schema": "mergelab/candidates/1",
            "refused": None,
            "candidates": entries,
            "unmergeable": unmergeable,
        },
    )
    write_json(data / "gates.json", {"schema": "mergelab/gates/1", "candidates": gates})


def _lineage(merge: Merge) -> dict[str, Any]:
    """The parts of an in-toto statement that the report shows."""
    materials = [
        {
            "name": name,
            "digest": {"sha256": _digest(name)},
            "annotations": {
                "role": role,
                "licence": "Apache-2.0",
                "card_sha256": _digest("card"),
                "files": {},
            },
        }
        for name, role in (("base", "base"), ("pico-a", "parent"), ("pico-b", "parent"))
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model.safetensors", "digest": {"sha256": _digest(merge.id)}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:mergelab:merge:1",
                "externalParameters": {
                    "id": merge.id,
                    "recipe": {
                        "method": {"name": merge.method, "version": 1},
                        "seed": 0,
                        "numerics": 1,
                        "output_dtype": "float32",
                        "parameters": {},
                    },
                    "proposal": {"origin": "anchor", "index": 0, "label": merge.label},
                },
                "internalParameters": {"isolation": {"level": "L3", "self_test": _digest("probe")}},
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": "urn:mergelab:worker:1"}},
        },
    }


def _write_cases(data: Path, task: str, count: int, twins: bool) -> None:
    lines = []
    for place in range(count):
        item = {"skill": task, "family": 18 + place % 2, "prompt": f"{task} {place}>", "answer": "x\n"}
        lines.append(json.dumps({**item, "pair": f"{task}:{place // 2}" if twins else None}))
    path = data / "cases" / "hidden" / f"{task}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _answers(split: str, truth: Mapping[str, float], name: str) -> dict[str, TaskEvidence]:
    """Answers at the true accuracies: difficulty is shared by all, a little noise is the subject's own."""
    answers = {}
    for task, (_, _, hidden, _) in TASKS.items():
        count = hidden if split == "hidden" else 40
        spread = (
            np.arange(count) + 0.5
        ) / count  # every difficulty once: observed accuracy is near the true one
        order = np.argsort(uniform(f"{task} {split}", count))
        ease = spread[order]
        noise = 0.06 * (uniform(f"{task} {split} {name}", count) - 0.5)
        correct = ease + noise < truth[task]
        nats = -np.abs(1 - truth[task] + 0.3 * (1 - correct)) - 0.01
        answers[task] = TaskEvidence(
            tuple(bool(bit) for bit in correct),
            tuple(round(float(value), 4) for value in np.broadcast_to(nats, count)),
            (4,) * count,
        )
    return answers


def uniform(key: str, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) that depend on the key alone."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.asarray(np.random.PCG64(seed).random_raw(count) / 2.0**64)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
