"""What merging costs beside copying: `python -m tests.bench.engine`.

Two floors, for as many inputs as a method reads: *copy* reads them and writes one file; *verified copy* also
hashes every input and the output. Floors and methods run in turns, each in a process of its own, so that what
else the machine does falls on all alike. Nothing here is asserted: times are reported, bytes are tested.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.core.records.files import sha256_file, write_text
from stages.core.records.recipe import Recipe
from stages.core.weights import plan, registry, writer
from stages.core.weights.numerics import NUMERICS
from tests.bench import checkpoints, child, report, runs
from tests.bench.runs import Run

LABELS = tuple(f"{place:064x}" for place in range(3))  # stand in for digests: the base, then two parents


def recipe(method: str) -> Recipe:
    """The method with its defaults over the two parents and their base."""
    known = registry.get(method)
    return Recipe(
        method=method,
        method_version=known.version,
        base=LABELS[0] if known.space == "delta" else None,
        parents=LABELS[1:],
        parameters=registry.resolve(method, {}, 2),
        seed=5,
        output_dtype="bfloat16",
        numerics=NUMERICS,
    )


def jobs(
    methods: Sequence[str], folders: Sequence[Path], threads: int, kernels: Path | None
) -> dict[str, dict[str, Any]]:
    """What is run in each round, by the name of its row: floors first, then methods, then in place."""
    sources = {label: str(folder) for label, folder in zip(LABELS, folders, strict=True)}
    manifests = {
        label: {child.FILE: sha256_file(folder / child.FILE)}
        for label, folder in zip(LABELS, folders, strict=True)
    }
    common = {
        "threads": threads,
        "sources": sources,
        "manifests": manifests,
        "kernels": kernels and str(kernels),
    }
    found: dict[str, dict[str, Any]] = {}
    counts = sorted({inputs(method) for method in methods})
    for count in counts:
        for kind in ("copy", "verified"):
            found[f"{kind} {count}"] = {**common, "kind": kind, "inputs": [str(f) for f in folders[-count:]]}
    for kind in ("merge", "in_place"):
        for method in methods:
            name = method if kind == "merge" else f"{method}, in place"
            found[name] = {**common, "kind": kind, "method": method, "recipe": recipe(method).to_json()}
    return found


def compiled(methods: Sequence[str], folders: Sequence[Path], place: Path) -> Path:
    """A folder with the machine code of every method, as the process that starts workers keeps it."""
    from stages.core.weights.kernels import fast

    sources = dict(zip(LABELS, folders, strict=True))
    for method in methods:
        fast.load(plan.plan(recipe(method), sources), place / "kernels", compiling=True)
    return place / "kernels"


def inputs(method: str) -> int:
    """How many of the three checkpoints a method reads."""
    return 3 if registry.get(method).space == "delta" else 2


def rounds(todo: dict[str, dict[str, Any]], folder: Path, repeat: int) -> Iterator[tuple[str, Run]]:
    """Every job once a round; the output folder is made anew for each, outside its time."""
    sources = None
    for _ in range(repeat):
        for name, job in todo.items():
            output = folder / "out"
            shutil.rmtree(output, ignore_errors=True)
            sources = {label: Path(path) for label, path in job["sources"].items()}
            writer.preallocate(plan.plan(recipe(job.get("method", "linear")), sources), output)
            yield name, runs.child({**job, "output": str(output)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the report."""
    words = argparse.ArgumentParser(prog="python -m tests.bench.engine", description=__doc__)
    words.add_argument("--size-gb", type=float, default=1.0, help="of one checkpoint, in 10^9 bytes")
    words.add_argument("--methods", default="linear,slerp,task_arithmetic,dare_linear,dare_ties,ties")
    words.add_argument("--repeat", type=int, default=3)
    words.add_argument("--threads", type=int, default=2)
    words.add_argument("--folder", type=Path, default=None, help="where checkpoints go; removed afterwards")
    words.add_argument("--out", type=Path, default=runs.ROOT / "reports/bench/engine.md")
    words.add_argument("--backend", choices=["numba", "torch"], default="numba")
    asked = words.parse_args(arguments)
    methods = asked.methods.split(",")
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bench-") as place:
        tensors = checkpoints.shapes(asked.size_gb * 1e9)
        folders = [checkpoints.build(Path(place) / str(m), m, tensors) for m in range(len(LABELS))]
        size = (folders[0] / child.FILE).stat().st_size
        measured: dict[str, list[Run]] = {}
        kernels = compiled(methods, folders, Path(place)) if asked.backend == "numba" else None
        todo = jobs(methods, folders, asked.threads, kernels)
        for name, run in rounds(todo, Path(place), asked.repeat):
            measured.setdefault(name, []).append(run)
            print(f"{name:28} {run.cpu:7.2f} CPU s {run.wall:7.2f} s", flush=True)  # noqa: T201
    text = report.markdown(measured, {m: inputs(m) for m in methods}, size, asked.threads)
    print(text)  # noqa: T201
    write_text(asked.out, text)


if __name__ == "__main__":
    main()
