"""Prints, as JSON, what this process runs on and the digest of every merge of a prepared directory.

Run as `python -m tests.core.weights.identity_worker DIRECTORY [every]`, with the switches in the environment.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.core.weights import engine, writer
from stages.core.weights.backend import Backend
from stages.core.weights.plan import Plan
from tests.core.weights.family import LABELS, Family, planned, recipe

METHODS = {
    "linear": {"weights": [0.3, 1.1]},
    "slerp": {"t": 0.3},
    "task_arithmetic": {"weights": [0.7, -0.2], "scale": 0.9},
    "ties": {"density": 0.3, "weights": [1.0, 0.7], "scale": 1.1},
    "dare_linear": {"drop": 0.3, "rescale": "l1"},
    "dare_ties": {"drop": 0.3, "weights": [1.0, 0.7]},
    "task_slerp": {"t": 0.3, "opposite": "chord", "scale": 1.1},
    "karcher": {"weights": [1.0, 0.7]},
    "model_stock": {},
    "greedy_soup": {"kept": [1, 1], "scores": [0.5, 0.4]},
    "breadcrumbs": {"density": 0.3, "gamma": 0.05, "weights": [1.0, 0.7]},
    "della": {"density": 0.4, "epsilon": 0.2, "weights": [1.0, 0.7]},
    "della_linear": {"density": 0.4, "epsilon": 0.2},
    "consensus": {"thresholds": [0.3, 0.5], "weights": [1.0, 0.7]},
    "sce": {"density": 0.3},
    "passthrough": {"donor": [{"match": "layer.*", "value": 2}, {"match": "*", "value": 1}], "scale": 0.7},
    "layer_path": {"path": "1:0 2:0 1:0", "scale": 0.7, "outside": 2},
}
SPECTRAL = {  # identical over the runs below, and not pinned over instruction sets: numerics.py, number 9
    "tsv_m": {"weights": [1.0, 0.7], "scale": 0.9},
    "iso_c": {"weights": [1.0, 0.7], "scale": 0.9},
    "iso_cts": {"common_fraction": 0.5},
}
RUNS = ((1, 1 << 16), (1, 1 << 18), (2, 1 << 16), (4, 3 << 16))  # (threads, block_elements)


def digests(
    made: Family,
    dtype: str,
    runs: tuple[tuple[int, int], ...] = RUNS,
    methods: Mapping[str, Mapping[str, Any]] = METHODS,
    backend: Callable[[Plan], Backend | None] = lambda plan: None,
) -> dict[str, str]:
    """'method dtype threads block' -> sha256 of the merged file. backend: that of a plan; plain without."""
    found = {}
    for method, options in methods.items():
        plan = planned(made, recipe(method, dtype=dtype, **options))
        for threads, block in runs:
            with tempfile.TemporaryDirectory() as directory:
                output = Path(directory) / "out"
                writer.preallocate(plan, output)
                merged = engine.execute(
                    plan,
                    made.sources,
                    made.manifests,
                    output,
                    threads=threads,
                    block_elements=block,
                    backend=backend(plan),
                )
            found[f"{method} {dtype} {threads} {block}"] = merged.files["model.safetensors"]
    return found


def main(root: Path, every: bool) -> None:
    """Merge what lies in `root` in every way, and print the report.

    Threads and blocks vary for parents in bfloat16: with each output if `every`, else with bfloat16 alone.
    """
    features = np._core._multiarray_umath.__cpu_features__  # type: ignore[attr-defined]
    report = {
        "torch": torch.backends.cpu.get_cpu_capability(),
        "numpy": [name for name in ("X86_V3", "X86_V4", "AVX512_ICL") if features.get(name)],
        "digests": {},
    }
    for parents in ("float32", "bfloat16", "float16"):
        made = Family(root, {}, {})
        for place, label in enumerate(LABELS[:3]):
            made.adopt(label, root / parents / f"member-{place}")
        for output in ("float32", "bfloat16", "float16"):
            varied = parents == "bfloat16" and (every or output == "bfloat16")
            found = digests(made, output, RUNS if varied else RUNS[:1])
            report["digests"].update({f"{parents} {key}": digest for key, digest in found.items()})
    print(json.dumps(report))  # noqa: T201 - the parent process reads it


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] == ["every"])
