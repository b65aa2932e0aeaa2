"""What merging costs beside copying: `python -m tests.bench.engine`.

Two floors, for as many inputs as a method reads: *copy* reads them and writes one file; *verified copy* also
hashes every input and the output. Both write through the page cache, as any copy does; the engine writes
around it, as a third floor does, the verified copy *written directly*, to which no ratio is taken. Floors and
methods run in turns, each in a process of its own, so that what else the machine does falls on all alike.
--peer mergekit runs another tool on the same folders; --profile says what a merge is made of. Nothing here is
asserted but bytes: times are reported.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.errors import BadRequest, LabError
from stages.core.records.files import sha256_file, write_text
from stages.core.records.recipe import Recipe
from stages.core.weights import plan, registry, writer
from stages.core.weights.numerics import NUMERICS
from tests.bench import checkpoints, offers, peer, report, runs
from tests.bench.floors import FILE, FLOORS
from tests.bench.runs import Run

LABELS = tuple(f"{place:064x}" for place in range(3))  # stand in for digests: the base, then two parents
DEFAULT = "linear,slerp,task_arithmetic,dare_linear,dare_ties,ties"
TINY_BYTES = 1e6

Row = tuple[str, str]  # kind of run, and the method or, of a floor, the number of inputs


@dataclass
class Measured:
    """Everything that one call measured. inputs: files read, by method; first: the first use of each method.

    left_out: methods that no default parameters run. profiles: runs of one thread that say their parts.
    """

    size: int
    threads: int
    inputs: dict[str, int] = field(default_factory=dict)
    rows: dict[Row, list[Run]] = field(default_factory=dict)
    first: dict[str, Run] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    profiles: dict[Row, list[Run]] = field(default_factory=dict)
    beside: peer.Beside | None = None

    def add(self, row: Row, run: Run) -> None:
        """Add one run of a row, and say so."""
        self.rows.setdefault(row, []).append(run)
        _say(f"{' '.join(row):32} {run.cpu:7.2f} CPU s {run.wall:7.2f} s {run.anonymous >> 20:5} MiB")


def recipe(method: str) -> Recipe:
    """The method with its defaults over two fine-tunes and their base. Raises BadRequest if it has none."""
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


class Bench:
    """Checkpoints of one size, and the jobs over them. place: an empty folder for all that is written."""

    def __init__(self, place: Path, name: str, size: float, threads: int) -> None:
        self.place, self.threads = place, threads
        self.output, self.cache = place / "out", place / "cache"
        self.folders = checkpoints.build(place / name, checkpoints.shapes(size))
        self._sources = dict(zip(LABELS, self.folders, strict=True))
        self._manifests = {label: {FILE: sha256_file(path / FILE)} for label, path in self._sources.items()}

    def inputs(self, method: str) -> int:
        """How many of the three checkpoints a method reads."""
        return len(plan.plan(recipe(method), self._sources).inputs)

    def run(self, kind: str, name: str, **options: Any) -> Run:
        """Run a floor over `name` inputs, or a method; the output file is made anew, outside its time.

        Raises AssertionError if the file on disk is not what the run said that it wrote.
        """
        floor = kind in FLOORS
        shutil.rmtree(self.output, ignore_errors=True)
        writer.preallocate(plan.plan(recipe("linear" if floor else name), self._sources), self.output)
        job = {"kind": kind, "threads": self.threads, "output": str(self.output)}
        job |= {"kernels": str(self.place / "kernels"), "cache": str(self.cache), **options}
        if floor:
            job["inputs"] = [str(folder) for folder in self.folders[-int(name) :]]
        else:
            job |= {"recipe": recipe(name).to_json(), "manifests": self._manifests}
            job["sources"] = {label: str(folder) for label, folder in self._sources.items()}
        if kind == "cold":
            shutil.rmtree(self.cache, ignore_errors=True)
        run = runs.child(job)
        if kind != "in place":
            written = sha256_file(self.output / FILE)
            expected = self._manifests[LABELS[-1]][FILE] if floor else run.files[FILE]
            if written != expected:
                raise AssertionError(f"{kind} {name}: wrote {written}, expected {expected}")
        return run


def rows(inputs: Mapping[str, int]) -> Iterator[Row]:
    """What is run in each round, in order: floors, then every method in all its kinds."""
    for count in sorted(dict.fromkeys(inputs.values())):
        for kind in FLOORS:
            yield kind, str(count)
    for method in inputs:
        for kind in offers.KINDS:
            yield kind, method


def measure(asked: argparse.Namespace, place: Path) -> Measured:
    """Run everything that was asked for, in the empty folder `place`."""
    size = asked.size_gb * 1e9
    checkpoints.need_room(place, size, len(LABELS) + 2)
    methods, left_out = _methods(asked.methods)
    tiny = Bench(place, "tiny", TINY_BYTES, asked.threads)
    first = {method: tiny.run("cold", method) for method in methods}
    bench = Bench(place, "whole", size, asked.threads)
    checkpoints.warm(bench.folders)
    found = Measured((bench.folders[0] / FILE).stat().st_size, asked.threads, first=first, left_out=left_out)
    found.inputs = {method: bench.inputs(method) for method in methods}
    for _ in range(asked.rounds):
        for row in rows(found.inputs):
            found.add(row, bench.run(*row))
    for method in [asked.profile] if asked.profile else []:
        for _ in range(asked.rounds):
            for row in (("verified copy", str(bench.inputs(method))), ("cold", method)):
                run = bench.run(*row, threads=1, profile=True)
                found.profiles.setdefault(row, []).append(run)
    shutil.rmtree(bench.output, ignore_errors=True)
    if asked.peer:
        found.beside = peer.measure(bench.folders, place, asked.peer_folder, asked.rounds, _say)
    return found


def _methods(asked: str) -> tuple[list[str], dict[str, str]]:
    """The methods asked for; of `all`, those that run with defaults, and why the others do not."""
    if asked != "all":
        methods = [name for name in asked.split(",") if name not in ("", "none")]
        for method in methods:
            recipe(method)
        return methods, {}
    left_out = {}
    for method in registry.BY_NAME:
        try:
            recipe(method)
        except BadRequest as refused:
            left_out[method] = "; ".join(refused.problems)
    return [method for method in registry.BY_NAME if method not in left_out], left_out


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    words = argparse.ArgumentParser(prog="python -m tests.bench.engine", description=__doc__)
    words.add_argument("--size-gb", type=float, default=1.0, help="of one checkpoint, in 10^9 bytes")
    words.add_argument("--methods", default=DEFAULT, help="by comma; or all, or none")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--threads", type=int, default=2, help="of floors and of the engine")
    words.add_argument("--profile", metavar="METHOD", help="say what the gap to the floor is made of")
    words.add_argument(
        "--peer", choices=[peer.NAME], help="run this tool too; installed when it is not there"
    )
    words.add_argument("--peer-folder", type=Path, default=peer.FOLDER, help="its environment")
    words.add_argument("--folder", type=Path, help="where checkpoints are made; removed afterwards")
    words.add_argument("--out", type=Path, default=runs.ROOT / "reports/bench/engine.md")
    return words


def main(words: Sequence[str] | None = None) -> Measured:
    """Measure, print the tables, write the report, and return the figures."""
    given = list(sys.argv[1:] if words is None else words)
    asked = arguments().parse_args(given)
    load = os.getloadavg()[0]
    runs.precompile()
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bench-") as place:
        found = measure(asked, Path(place))
    text = report.engine(found, given, load)
    _say(text)
    write_text(asked.out, text)
    return found


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except LabError as problem:
        sys.exit(str(problem))
