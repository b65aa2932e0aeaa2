"""Jobs that end badly, for test_launch.py. Loaded into workers by scene.jobs_of."""

import ctypes
import mmap
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from stages.core.errors import BadCheckpoint, BadRequest, LabError, Unmergeable

Job = dict[str, Any]


def crash(job: Job, progress: object) -> None:
    ctypes.string_at(0)


def be_killed(job: Job, progress: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(job: Job, progress: object) -> None:
    if "started" in job:
        Path(job["started"]).write_text(str(os.getpid()))
    time.sleep(job["seconds"])


def spin(job: Job, progress: object) -> NoReturn:
    while True:
        pass


def allocate(job: Job, progress: object) -> int:
    return len(bytearray(job["bytes"]))


def refuse(job: Job, progress: object) -> NoReturn:
    problems = {
        "BadCheckpoint": BadCheckpoint("header-hole", "model.safetensors has a hole. Acquire it again."),
        "BadRequest": BadRequest(["one: wrong", "two: wrong"]),
        "Unmergeable": Unmergeable("tensor 'w' has norm 0"),
        "LabError": LabError("no luck"),
    }
    raise problems[job["error"]]


def forget(job: Job, progress: object) -> NoReturn:
    raise KeyError("a bug of ours")


def say(job: Job, progress: object) -> None:
    """Write raw bytes to the parent, past the reporter, whose descriptor follows the standard three."""
    os.write(3, job["text"].encode())


def flood(job: Job, progress: object) -> None:
    while True:
        os.write(3, b'{"progress": [1, 2]}\n' * 4096)


def chatter(job: Job, progress: object) -> str:
    sys.stdout.write("a library's greeting\n")
    os.write(1, b'{"result": "forged by native code"}\n')
    sys.stderr.write("and a warning\n")
    return "the true result"


def linger(job: Job, progress: object) -> None:
    """Close every pipe and stay."""
    for number in (0, 1, 2, 3):
        os.close(number)
    time.sleep(60)


def grow(job: Job, progress: object) -> None:
    """Lengthen the smaller of two outputs: RLIMIT_FSIZE, the size of the larger, lets it."""
    with Path(job["file"]).open("r+b") as stream:
        stream.write(bytes(job["bytes"]))


def read_beyond_the_end(job: Job, progress: object) -> int:
    """Map a file, cut it, and look at what is gone."""
    with Path(job["file"]).open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as mapped:
        os.ftruncate(stream.fileno(), 0)
        return mapped[0]


def rewrite(job: Job, progress: object) -> str:
    file = Path(job["file"])
    file.write_bytes(b"new")
    return file.read_text()


def use_scratch(job: Job, progress: object) -> list[str]:
    folder = Path(job["scratch"])
    (folder / "a").mkdir()
    (folder / "a" / "b").write_text("one")
    (folder / "a" / "b").write_text("two")
    (folder / "a" / "b").rename(folder / "a" / "c")
    (folder / "gone").touch()
    (folder / "gone").unlink()
    return [(folder / "a" / "c").read_text(), os.environ["TMPDIR"], str(folder)]


def surroundings(job: Job, progress: object) -> Job:
    return {"environment": dict(os.environ), "folder": str(Path.cwd()), "arguments": sys.argv[1:]}


def use_threads(job: Job, progress: object) -> int:
    found: list[int] = []
    threads = [threading.Thread(target=found.append, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(found)


def read(job: Job, progress: object) -> str:
    return Path(job["file"]).read_text()


def say_only(job: Job, progress: object) -> NoReturn:
    os.write(3, job["text"].encode())
    os._exit(0)


def look(job: Job, progress: object) -> dict[str, str]:
    """Path → how far this worker gets with it: 'read', 'named' (its existence is seen) or 'nothing'."""
    found = {}
    for name in job["paths"]:
        found[name] = "nothing"
        try:
            Path(name).stat()
            found[name] = "named"
            Path(name).read_bytes()
            found[name] = "read"
        except OSError:
            pass
    return found
