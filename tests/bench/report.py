"""The tables of the benchmark, in Markdown."""

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.bench import offers, parts, peer
from tests.bench.floors import FLOORS
from tests.bench.runs import Run

if TYPE_CHECKING:
    from tests.bench.engine import Measured

Figure = Callable[[Run], float]
INTRODUCTION = """# The engine beside copying

Llama-shaped checkpoints of {size:.2f} GB in bfloat16 (a base, two fine-tunes), page cache warm,
threads: {threads}, rounds in turns: {rounds}; median (least–greatest). CPU is user + system of the child and
its threads. *Process* is the whole child with interpreter start and imports, *work* leaves these out. Memory
is the greatest of any round, sampled about 300 times a second: anonymous (RssAnon), and resident with mapped
files (VmHWM).
"""


def engine(found: "Measured", command: Sequence[str], load: float) -> str:
    """The whole report. command: arguments as given; load: average of one minute before the first run."""
    rounds = max(map(len, found.rows.values()), default=0)
    text = INTRODUCTION.format(size=found.size / 1e9, threads=found.threads, rounds=rounds)
    text += machine("python -m tests.bench.engine", command, load)
    if found.rows:
        text += _floors(found) + _methods(found) + _work(found)
        text += "\nFirst run of each method, on checkpoints of 1 MB (kernels are compiled here, if any): "
        text += ", ".join(f"{name} {run.cpu:.2f} CPU s" for name, run in found.first.items()) + ".\n"
    for name, why in found.left_out.items():
        text += f"\nLeft out: {name} has no defaults for two parents ({why}).\n"
    if found.profiles:
        text += _profile(found)
    if found.beside:
        text += _beside(found.beside)
    return text


def machine(program: str, command: Sequence[str], load: float) -> str:
    """A list of what the figures depend on, and of nothing that names the machine."""
    named = ("torch", "numpy", "numba")
    packages = ", ".join(f"{name} {found}" for name in named if (found := _version(name)))
    facts = {
        "command": f"`{' '.join([program, *_anonymous(command)])}`",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_version()}, {packages}",
        "load average": f"{load:.2f} before, {os.getloadavg()[0]:.2f} after",
    }
    return "\n" + "".join(f"- {name}: {fact}\n" for name, fact in facts.items())


def table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A section with one Markdown table."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return f"\n## {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))


def spread(found: Sequence[Run], figure: Figure) -> str:
    """Median, and of several the least and the greatest."""
    values = [figure(run) for run in found]
    return f"{median(values):.2f}" + (f" ({min(values):.2f}–{max(values):.2f})" if len(values) > 1 else "")


def mebibytes(found: Sequence[Run], figure: Figure) -> str:
    """The greatest."""
    return f"{max(map(figure, found)) / 2**20:.0f}"


def times(found: Sequence[Run], other: Sequence[Run], figure: Figure) -> str:
    """Ratio of medians."""
    return f"{median(map(figure, found)) / max(median(map(figure, other)), 1e-9):.2f}"


def _cpu(run: Run) -> float:
    return run.cpu


def _wall(run: Run) -> float:
    return run.wall


def _work_cpu(run: Run) -> float:
    return run.work_cpu


def _floors(found: "Measured") -> str:
    lines = []
    for count in sorted(dict.fromkeys(found.inputs.values())):
        for kind in FLOORS:
            seen = found.rows[kind, str(count)]
            figures = [spread(seen, figure) for figure in (_cpu, _wall, _work_cpu, lambda run: run.work_wall)]
            lines.append([f"{kind}, {count} inputs", *figures])
    said = "\nA copy and a verified copy write through the page cache, a merge around it (staging.py).\n"
    head = ["floor", "process, CPU s", "process, wall s", "work, CPU s", "work, wall s"]
    return table("Floors", head, lines) + said


def _methods(found: "Measured") -> str:
    head = [
        "method",
        "inputs",
        "CPU s",
        "wall s",
        "CPU × copy",
        "CPU × verified copy",
        "wall × verified copy",
    ]
    head += ["anonymous MiB", "VmHWM MiB"]
    lines = []
    for method, count in found.inputs.items():
        seen, copy = found.rows["cold", method], found.rows["copy", str(count)]
        verified = found.rows["verified copy", str(count)]
        ratios = [times(seen, copy, _cpu), times(seen, verified, _cpu), times(seen, verified, _wall)]
        memory = [mebibytes(seen, lambda run: run.anonymous), mebibytes(seen, lambda run: run.high_water)]
        lines.append([method, str(count), spread(seen, _cpu), spread(seen, _wall), *ratios, *memory])
    return table("Methods cold, whole process", head, lines)


def _work(found: "Measured") -> str:
    """The same without start and imports, and what is known or left out in the other kinds of run."""
    head = ["method", "start, CPU s"]
    for kind in offers.KINDS:
        head += [f"{kind}, CPU s", f"{kind}, wall s"]
        head += [f"{kind}, CPU s per GB"] if kind == "in place" else ["× copy", "× verified copy"]
    lines = []
    for method, count in found.inputs.items():
        line = [method, f"{median(run.cpu - run.work_cpu for run in found.rows['cold', method]):.2f}"]
        for kind in offers.KINDS:
            seen = found.rows[kind, method]
            line += [spread(seen, _work_cpu), spread(seen, lambda run: run.work_wall)]
            if kind == "in place":
                line.append(f"{median(map(_work_cpu, seen)) / (found.size / 1e9):.2f}")
            else:
                floors = (found.rows[floor, str(count)] for floor in ("copy", "verified copy"))
                line += [times(seen, floor, _work_cpu) for floor in floors]
        lines.append(line)
    said = "".join(f"\n*{kind}*: {meaning}." for kind, meaning in offers.KINDS.items())
    return table("Methods, work alone", head, lines) + said + "\n"


def _profile(found: "Measured") -> str:
    """Parts of a merge beside those of the verified copy, each in one thread."""
    (floor, copies), (row, merges) = found.profiles.items()

    def part(seen: Sequence[Run], name: str) -> float:
        if name == "start":
            return median(run.cpu - run.work_cpu for run in seen)
        return median(run.parts[name] for run in seen)

    lines = []
    for name in ("start", *parts.PARTS):
        ours, theirs = part(merges, name), part(copies, name)
        lines.append([name, f"{theirs:.2f}", f"{ours:.2f}", f"{ours - theirs:+.2f}"])
    whole = [median(map(_cpu, seen)) for seen in (copies, merges)]
    lines.append(["whole process", *(f"{value:.2f}" for value in whole), f"{whole[1] - whole[0]:+.2f}"])
    head = ["part, CPU s", f"{floor[0]}, {floor[1]} inputs", row[1], "gap"]
    said = (
        "\nOne thread, so that its clock can be read at every system call and every update of a digest: "
        "*start* is the interpreter and its imports, *statistics* what they compute beside the reading they "
        "cause, *rest* the arithmetic, rounding and bookkeeping (in a copy, the loop).\n"
    )
    return table(f"What the gap to the floor is made of: {row[1]}", head, lines) + said


def _beside(beside: peer.Beside) -> str:
    head = ["method", "command", "CPU s", "wall s", "peak resident MiB", "peak anonymous MiB"]
    head += ["CPU ×", "wall ×", "memory ×"]
    lines = []
    for method in peer.METHODS:
        theirs = beside.rows[peer.NAME, method]
        for tool in (peer.NAME, peer.OURS, peer.AGAIN):
            seen = beside.rows[tool, method]
            line = [method, tool, spread(seen, _cpu), spread(seen, _wall)]
            line += [mebibytes(seen, _resident), mebibytes(seen, lambda run: run.anonymous)]
            figures = (_cpu, _wall, _resident)
            lines.append(line + [times(theirs, seen, figure) for figure in figures])
    found = ", ".join(f"{name} {number}" for name, number in beside.versions.items())
    said = (
        "\nThe same YAML to both, whole commands with start and imports; `mergelab merge … --unreviewed` "
        "takes and verifies digests, mergekit takes none. × is mergekit's median over that of the row: how "
        "many times less. Resident memory is the greatest sum of VmRSS over the process tree (pages that two "
        "processes share count twice; mapped input files count). *again*: the same merge repeated, with "
        f"whatever is kept of the parents known.\n\nIts environment: {found}.\n\n"
        "Our first command of each method, outside the rounds (kernels are compiled here, if any): "
    )
    first = ", ".join(f"{name} {run.cpu:.2f} CPU s, {run.wall:.2f} s" for name, run in beside.first.items())
    return table(f"Beside {peer.NAME} {beside.versions[peer.NAME]}", head, lines) + said + first + ".\n"


def _resident(run: Run) -> float:
    return run.resident


def _anonymous(command: Sequence[str]) -> list[str]:
    """The command without the folders given, which say where on this machine it ran."""
    hidden, told = ("--folder", "--out", "--peer-folder"), []
    for place, word in enumerate(command):
        if word not in hidden and (place == 0 or command[place - 1] not in hidden):
            told.append(word)
    return told


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
