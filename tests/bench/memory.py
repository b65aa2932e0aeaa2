"""Peak anonymous memory of a merge at several sizes: `python -m tests.bench.memory`.

Mapped input files do not count, buffers do. The kernel keeps no high-water mark of anonymous memory: it is
polled, about 300 times a second, so that a shorter peak may be missed; VmHWM, which counts mapped files too,
stands beside it. Checkpoints of one size are removed before those of the next are made.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stages.core.errors import LabError
from stages.core.records.files import write_text
from tests.bench import checkpoints, report, runs
from tests.bench.engine import LABELS, TINY_BYTES, Bench
from tests.bench.runs import Run


def measure(
    sizes: Sequence[float], methods: Sequence[str], threads: int, folder: Path
) -> dict[float, dict[str, Run]]:
    """One cold run of every method at every size (GB of one checkpoint), in `folder`.

    Raises LabError before anything is made, if the disk lacks room for the largest size.
    """
    checkpoints.need_room(folder, max(sizes) * 1e9, len(LABELS) + 1)
    found: dict[float, dict[str, Run]] = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix="memory-") as made:
        place = Path(made)
        tiny = Bench(place, "tiny", TINY_BYTES, threads)
        for method in methods:  # compiles kernels, which would be the greatest part of what is measured
            tiny.run("cold", method)
        for size in sizes:
            bench = Bench(place, "whole", size * 1e9, threads)
            found[size] = {method: bench.run("cold", method) for method in methods}
            shutil.rmtree(place / "whole")
    return found


def table(found: dict[float, dict[str, Run]]) -> str:
    """Anonymous memory and VmHWM in MiB, a row for each method."""
    head = ["method"] + [f"{size:g} GB: anonymous (VmHWM)" for size in found]
    lines = [
        [
            method,
            *(f"{runs[method].anonymous >> 20} ({runs[method].high_water >> 20})" for runs in found.values()),
        ]
        for method in next(iter(found.values()))
    ]
    return report.table("Peak memory of a cold merge of two parents, MiB", head, lines)


def main(words: Sequence[str] | None = None) -> dict[float, dict[str, Run]]:
    """Measure, print the table, write the report, and return the runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--sizes-gb", default="0.25,1,4", help="of one checkpoint, in 10^9 bytes, by comma")
    parser.add_argument("--methods", default="linear,slerp,dare_ties,ties")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, default=runs.ROOT / "reports/bench/memory.md")
    given = list(sys.argv[1:] if words is None else words)
    asked = parser.parse_args(given)
    load = os.getloadavg()[0]
    sizes = [float(size) for size in asked.sizes_gb.split(",")]
    found = measure(sizes, asked.methods.split(","), asked.threads, asked.folder)
    text = f"# Memory of a merge\n{report.machine('python -m tests.bench.memory', given, load)}{table(found)}"
    print(text)  # noqa: T201
    write_text(asked.out, text)
    return found


if __name__ == "__main__":
    try:
        main()
    except LabError as problem:
        sys.exit(str(problem))
