"""Kills merge stages at counted instants, and lets the next run finish: a program of its own.

    python mortal.py FOLDER SEED WHO COUNT

FOLDER holds what `python -m stages.merge` reads. An instant is a number of file and process events, drawn
with SEED from those of an undisturbed run. WHO is 'stage' (it kills itself there) or 'worker' (each worker
does). Prints a JSON list with one entry an instant: how it ended and what was found. Stages are forked off
this process, which has imported everything, so that an instant costs two short runs and no imports.
"""

import ctypes
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.core.entry import enter
from stages.core.errors import LabError
from stages.core.records import manifest as manifests
from stages.core.sandbox import runtime
from stages.core.sandbox.dialogue import Dialogue
from stages.merge.__main__ import work

PR_SET_CHILD_SUBREAPER = 36  # orphaned workers become children of this process, which can then wait for them
ALARM_SECONDS = 300  # of this program, if a worker outlives its parent
EVENTS = ("open", "os.", "shutil.", "subprocess.")
SPARE = 10  # events that two undisturbed runs may differ by
WORKER_BOOT = """
import os, signal
count, leave = [0], os._exit
def hook(event, arguments):
    count[0] += event.startswith({events!r})
    if count[0] == {instant}:
        os.kill(os.getpid(), signal.SIGKILL)
def tell(status):
    os.write(2, b"%d\\n" % count[0])
    leave(status)
os._exit = tell
sys.addaudithook(hook)
worker.main()"""  # the worker's imports, its lock and its self-test, the merge; how many differs by machine


def count_events(instant: int, act: Callable[[], None]) -> list[int]:
    """From here on count events, and `act` at number `instant`; the list holds the count."""
    count = [0]

    def hook(event: str, arguments: object) -> None:
        if event.startswith(EVENTS):
            count[0] += 1
            if count[0] == instant:
                act()

    sys.addaudithook(hook)
    return count


def doom_workers(instant: int) -> None:
    """From here on each worker kills itself at event `instant`; one that lives tells its count at the end."""
    text = WORKER_BOOT.format(events=EVENTS, instant=instant)
    runtime.BOOT = runtime.BOOT.replace("; worker.main()", text)


def overhear(said: list[bytes]) -> None:
    """From here on keep all that workers write to standard error in `said`."""
    hear = Dialogue.hear_error

    def hear_error(dialogue: Dialogue, data: bytes) -> None:
        said.append(data)
        hear(dialogue, data)

    Dialogue.hear_error = hear_error  # type: ignore[method-assign] -- of a process that ends soon


def stage(folder: Path, prepare: Callable[[], None], finish: Callable[[], None] = lambda: None) -> int:
    """Run the stage in a process of its own, and wait until it and all its workers are gone; its status."""
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(folder)
            os.dup2(os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
            prepare()
            status = enter("merge", work)
            finish()
        except BaseException:  # noqa: BLE001 -- the process ends here
            status = 99
        os._exit(status)
    status = 0
    while True:
        try:
            ended, code = os.wait()
        except ChildProcessError:
            return status
        if ended == pid:
            status = os.waitstatus_to_exitcode(code)


def laid_out(source: Path, target: Path) -> Path:
    """The inputs of the stage in a folder of their own; parents by hard link."""
    shutil.copytree(source, target, copy_function=os.link)
    return target


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def survey(folder: Path, wanted: Mapping[str, bytes]) -> dict[str, Any]:
    """What a dead run left: finished candidates with the inode of their weights, and what is half done."""
    finished, torn = {}, []
    for stored in (folder / ".mergelab/candidates").glob("[!.]*"):
        try:
            manifests.check(stored, manifests.load(stored))
            finished[stored.name] = (stored / "model.safetensors").stat().st_ino
        except (LabError, OSError) as problem:
            torn.append(f"{stored.name}: {problem}")
    output = folder / "data/candidates"
    if output.exists() and bytes_of(output) != wanted:
        torn.append("data/candidates is there, and not whole")
    return {"finished": finished, "torn": torn}


def one_instant(
    source: Path, scratch: Path, wanted: Mapping[str, bytes], who: str, instant: int
) -> dict[str, Any]:
    folder = laid_out(source, scratch / f"{who}-{instant}")

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def doom() -> None:
        if who == "worker":
            doom_workers(instant)
        else:
            count_events(instant, kill)

    status = stage(folder, doom)
    found = survey(folder, wanted) | {"instant": instant, "status": status}
    found["next"] = stage(folder, lambda: None)
    after = survey(folder, wanted)
    found["same"] = bytes_of(folder / "data/candidates") == wanted
    found["kept"] = all(after["finished"].get(name) == inode for name, inode in found["finished"].items())
    found["drafts"] = [path.name for path in folder.rglob("*draft*")] + [
        path.name for path in folder.rglob("*.part")
    ]
    found["log"] = (folder / "log").read_text()[-500:]
    shutil.rmtree(folder)
    return found


def undisturbed(folder: Path, who: str) -> int:
    """Run the stage; the number of events of the stage itself, or of that of its workers with the fewest."""
    told, said, counted = folder.parent / "events", list[bytes](), list[list[int]]()

    def prepare() -> None:
        doom_workers(0)
        overhear(said)
        counted.append(count_events(0, lambda: None))

    def finish() -> None:
        workers = b"".join(said).split()
        told.write_text(str(counted[0][0] if who == "stage" else min(map(int, workers))))

    status = stage(folder, prepare, finish)
    assert status == 0, (folder / "log").read_text()
    return int(told.read_text())


def main(source: Path, seed: int, who: str, count: int) -> list[dict[str, Any]]:
    scratch = source.parent / "labs"
    scratch.mkdir()
    stage(laid_out(source, scratch / "warm"), lambda: None)  # kernels are compiled now, if ever
    reference = laid_out(source, scratch / "reference")
    last = undisturbed(reference, who) - SPARE
    wanted = bytes_of(reference / "data/candidates")
    generator = random.Random(seed)
    instants = sorted(generator.randrange(1, last) for _ in range(count))
    return [one_instant(source, scratch, wanted, who, instant) for instant in instants]


if __name__ == "__main__":
    signal.alarm(ALARM_SECONDS)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    json.dump(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])), sys.stdout)
