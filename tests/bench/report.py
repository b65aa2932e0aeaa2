"""The tables of the engine's benchmark."""

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy

from tests.bench.runs import Run

HEAD = """# The engine beside copying

`python -m tests.bench.engine`: checkpoints of {size:.2f} GB in bfloat16, page cache warm, {threads} threads,
{cpu}, {cores} cores, load average {load:.1f} at the end, Python {python}, numpy {numpy}.
Median of {repeat} interleaved runs (least to greatest); seconds per whole merge. *Work* leaves out the
interpreter's start and imports, *process* has them. Ratios compare processor time of the work with the
floors for as many inputs. In place: no digests, and the live model counts as memory.

| | inputs | work, CPU s | work, wall s | process, CPU s | peak anonymous MiB | × copy | × verified copy |
|---|---|---|---|---|---|---|---|
"""


def markdown(
    measured: Mapping[str, Sequence[Run]], inputs: Mapping[str, int], size: int, threads: int
) -> str:
    """The report. measured: runs by row; inputs: files read, by method."""
    repeat = max(map(len, measured.values()))
    text = HEAD.format(
        size=size / 1e9, threads=threads, cpu=_processor(), cores=len(_cpus()), repeat=repeat,
        load=os.getloadavg()[0], python=platform.python_version(), numpy=numpy.__version__,
    )  # fmt: skip
    for name, found in measured.items():
        first = name.split(",")[0]
        count = inputs[first] if first in inputs else int(name.split()[1])
        text += f"| {name} | {count} | {spread([r.cpu for r in found])} | {spread([r.wall for r in found])} "
        text += f"| {median(r.whole_cpu for r in found):.2f} | {max(r.anonymous for r in found) >> 20} "
        for floor in ("copy", "verified"):
            ratio = median(r.cpu for r in found) / median(r.cpu for r in measured[f"{floor} {count}"])
            text += f"| {ratio:.2f} "
        text += "|\n"
    return text


def spread(values: Sequence[float]) -> str:
    """Median, least and greatest."""
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _cpus() -> list[str]:
    return [line for line in _cpuinfo() if line.startswith("processor")]


def _processor() -> str:
    names = [line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
