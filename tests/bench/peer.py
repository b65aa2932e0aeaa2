"""mergekit on the same folders with the same YAML: whole commands, process start and imports on both sides.

It lives in an environment of its own, made on request from mergekit.txt. Ours verifies and computes digests;
mergekit hashes nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stages.core.records.canonical import read_json
from tests.bench import offers, runs
from tests.bench.runs import ROOT, Run

NAME = "mergekit"
FOLDER = ROOT / ".mergelab/bench/mergekit"
PINS = Path(__file__).with_name("mergekit.txt")
COMPLETE = ".complete"
METHODS = ("linear", "slerp", "task_arithmetic", "dare_ties", "ties")
OURS, AGAIN = "mergelab", "mergelab, again"
RECORDED = ("mergekit", "torch", "transformers", "tokenizers", "safetensors", "pydantic", "numpy")
WEIGHTS, DENSITY, T = (0.6, 0.4), 0.53, 0.4


@dataclass
class Beside:
    """rows: runs by (tool, method). first: our first command of each method, which compiles.

    versions: of the other tool's environment.
    """

    versions: Mapping[str, str]
    rows: dict[tuple[str, str], list[Run]] = field(default_factory=dict)
    first: dict[str, Run] = field(default_factory=dict)


def installed(folder: Path) -> bool:
    """Whether the environment is there, whole, and made from the present pins."""
    mark = folder / COMPLETE
    return mark.is_file() and mark.read_bytes() == PINS.read_bytes()


def install(folder: Path) -> None:
    """Make the environment unless it is there. Raises CalledProcessError if pip fails."""
    if installed(folder):
        return
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pins = [line for line in PINS.read_text().splitlines() if line and not line.startswith("#")]
    subprocess.run([*pip, pins[0]], check=True)
    subprocess.run([*pip, "-r", str(PINS)], check=True)
    subprocess.run([folder / "bin/mergekit-yaml", "--help"], check=True, capture_output=True)  # writes .pyc
    (folder / COMPLETE).write_bytes(PINS.read_bytes())


def versions(folder: Path) -> dict[str, str]:
    """Python and package versions of the environment."""
    code = (
        "import json, platform, importlib.metadata as m; "
        f"found = {{n: m.version(n) for n in {RECORDED}}}; "
        "print(json.dumps({'python': platform.python_version()} | found))"
    )
    done = subprocess.run([folder / "bin/python", "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def document(method: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The YAML of one merge of two parents, as its users write it. folders: base, then the parents."""
    base, *parents = map(str, folders)
    tree: dict[str, Any] = {"merge_method": method, "dtype": "bfloat16"}
    if method == "slerp":
        models = [{"model": parent} for parent in parents]
        return tree | {"models": models, "base_model": parents[0], "parameters": {"t": T}}
    shared = {"density": DENSITY} if method.endswith("ties") else {}
    tree["models"] = [
        {"model": parent, "parameters": {"weight": weight, **shared}}
        for parent, weight in zip(parents, WEIGHTS, strict=True)
    ]
    if method == "linear":
        return tree
    return tree | {"base_model": base} | ({"parameters": {"normalize": True}} if shared else {})


def measure(
    folders: Sequence[Path], place: Path, environment: Path, rounds: int, say: Callable[[str], None]
) -> Beside:
    """Run both tools in turns; every output is removed before the next run."""
    install(environment)
    found = Beside(versions(environment))
    _write(folders, place)
    kernels = place / "command-kernels"
    for method in METHODS:
        found.first[method] = _ours(method, place, kernels, fresh=True)
    for _ in range(rounds):
        for method in METHODS:
            for tool, run in _round(method, place, environment, kernels):
                found.rows.setdefault((tool, method), []).append(run)
                figures = f"{run.cpu:7.2f} CPU s {run.wall:7.2f} s {run.resident >> 20:5} MiB"
                say(f"{tool + ' ' + method:32} {figures}")
    return found


def _write(folders: Sequence[Path], place: Path) -> None:
    for method in METHODS:
        text = yaml.safe_dump(document(method, folders), sort_keys=False)
        (place / f"{method}.yml").write_text(text, encoding="utf-8")


def _round(method: str, place: Path, environment: Path, kernels: Path) -> Iterator[tuple[str, Run]]:
    yield NAME, theirs(method, place, environment)
    yield OURS, _ours(method, place, kernels, fresh=True)
    yield AGAIN, _ours(method, place, kernels, fresh=False)


def theirs(method: str, place: Path, environment: Path) -> Run:
    """One run of mergekit-yaml on the file that `measure` wrote in `place`."""
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HOME": str(place / "hub")}
    words = [str(environment / "bin/mergekit-yaml"), str(place / f"{method}.yml")]
    return _whole(words, place, offline)


def _ours(method: str, place: Path, kernels: Path, *, fresh: bool) -> Run:
    """One run of `mergelab merge`; fresh: with nothing known of the parents from an earlier run."""
    if fresh:
        shutil.rmtree(offers.command_memory(kernels), ignore_errors=True)
    words = [sys.executable, "-m", "stages.cli", "merge", str(place / f"{method}.yml"), "--unreviewed"]
    return _whole([*words, "--out"], place, offers.command_environment(kernels))


def _whole(words: Sequence[str], place: Path, variables: Mapping[str, str]) -> Run:
    """Run a command that writes the folder given as its last word. Raises RuntimeError if it does not."""
    output = place / "merged"
    shutil.rmtree(output, ignore_errors=True)
    kept = {
        name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "PYTHONPATH")
    }
    run, _ = runs.command([*words, str(output)], {**kept, **variables})
    if not list(output.glob("model*.safetensors")) or "model_type" not in read_json(output / "config.json"):
        raise RuntimeError(f"{words[0]} wrote no model into {output}")
    shutil.rmtree(output)
    return run
