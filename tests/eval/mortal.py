"""Kills gate and evaluation stages at counted instants, and lets the next run finish: a program of its own.

    python mortal.py FOLDER SEED COUNT

An instant is a number of file events of the stage, drawn with SEED from those of an undisturbed run. A stage
does its jobs itself, in a process forked off this one, which has imported everything: an instant costs two
short runs and no imports. Prints a JSON list with one entry an instant: what was found, and afterwards.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import stages.core.scoring.harness

# isort: split
import stages.core.scoring.checks
import stages.core.scoring.ensemble  # noqa: F401  imported before the first fork: seconds, and no file event later
from stages.gate import stage as gate
from tests import inside
from tests.eval.toy import PARENTS, SUITE, evaluate, places_in, toy
from tests.gate.test_stage import POLICY

ALARM_SECONDS = 300
EVENTS = ("open", "os.", "shutil.")
KILLED = -signal.SIGKILL


def judge(root: Path) -> None:
    """The gate stage over the toy repository."""
    data = root / "data"
    places = gate.Places(data / "parents", data / "candidates", data / "gates.json", root / "store/gate.json")
    gate.run(SUITE, PARENTS, POLICY, places, lambda *counts: None)


STAGES: Mapping[str, tuple[Callable[[Path], object], Sequence[str]]] = {  # stage → its work, its outputs
    "gate": (judge, ("data/gates.json",)),
    "eval": (lambda root: evaluate(places_in(root)), ("data/cases", "data/evidence")),
}


def run(name: str, root: Path, instant: int = 0) -> tuple[int, int]:
    """Do a stage in a process of its own, which kills itself at event number `instant`; status, events."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        status, count = 1, [0]

        def hook(event: str, arguments: object) -> None:
            if event.startswith(EVENTS):
                count[0] += 1
                if count[0] == instant:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            os.dup2(os.open(root / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
            tempfile.tempdir = str(root / "tmp")
            sys.addaudithook(hook)
            with inside.this_process():
                STAGES[name][0](root)
            os.write(tell, str(count[0]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(tell)
    _, code = os.waitpid(pid, 0)
    with os.fdopen(told, "rb") as stream:
        events = stream.read()
    return os.waitstatus_to_exitcode(code), int(events or b"0")


def outputs(root: Path, name: str) -> dict[str, str]:
    """Every file of the outputs of a stage that are there, by its path."""
    tops = [root / top for top in STAGES[name][1]]
    files = [path for top in tops for path in (top, *sorted(top.rglob("*"))) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes().hex() for path in files}


def torn(root: Path, name: str, wanted: Mapping[str, str]) -> list[str]:
    """The outputs that are there, and are not whole."""
    found = outputs(root, name)
    tops = [top for top in STAGES[name][1] if (root / top).exists()]
    return [
        top
        for top in tops
        if {key: value for key, value in found.items() if key.startswith(top)}
        != {key: value for key, value in wanted.items() if key.startswith(top)}
    ]


def one_instant(name: str, template: Path, scratch: Path, wanted: Mapping[str, str], instant: int) -> Any:
    """What a death at that instant left, and what the next run made of it."""
    root = shutil.copytree(template, scratch / f"{name}-{instant}")
    status, _ = run(name, root, instant)
    found = {"stage": name, "instant": instant, "status": status, "torn": torn(root, name, wanted)}
    found["next"], _ = run(name, root)
    found["same"] = outputs(root, name) == wanted
    found["left"] = [str(path) for pattern in ("*.part", "*draft*") for path in root.rglob(pattern)]
    found["log"] = (root / "log").read_text()[-1500:]
    return found


def main(folder: Path, seed: int, count: int) -> list[Any]:
    """`count` instants of each stage: the gate first, whose verdicts the evaluation then reads."""
    generator, found = random.Random(seed), []
    template = folder / "template"
    toy(template)
    (template / "data/gates.json").unlink()
    (template / "tmp").mkdir()
    for name in STAGES:
        reference = shutil.copytree(template, folder / f"{name}-reference")
        status, events = run(name, reference)
        assert status == 0, (reference / "log").read_text()
        wanted = outputs(reference, name)
        instants = sorted(generator.randrange(1, events) for _ in range(count))
        found += [one_instant(name, template, folder, wanted, instant) for instant in instants]
        if name == "gate":
            shutil.copy2(reference / "data/gates.json", template / "data/gates.json")
    return found


if __name__ == "__main__":
    signal.alarm(ALARM_SECONDS)
    json.dump(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
