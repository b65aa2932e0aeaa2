"""Builds a scene with a victim, a secret and listening sockets, and lets one worker attack it.

    python scene.py FOLDER LEVEL [LANDLOCK_ABI]

prints the verdicts as JSON. A program of its own, so that a test can run it as another user.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stages.core.sandbox import launch, runtime
from stages.core.sandbox.launch import Isolation, Limits

FOREIGN_DESCRIPTOR = 200
MEMORY_BYTES = 1 << 30
HERE = Path(__file__).resolve().parent
LOAD = (
    "import runpy; worker.jobs.JOBS.update((name, value) for name, value in runpy.run_path({path!r}).items() "
    "if callable(value)); worker.main()"
)


@contextmanager
def jobs_of(path: Path) -> Iterator[None]:
    """Workers started inside know every function of the file as a kind of job; it is read before the lock."""
    boot, paths = runtime.BOOT, runtime.paths
    runtime.BOOT = boot.replace("worker.main()", LOAD.format(path=str(path)))
    runtime.paths = lambda: [*paths(), path]
    try:
        yield
    finally:
        runtime.BOOT, runtime.paths = boot, paths


@contextmanager
def built(folder: Path) -> Iterator[dict[str, str]]:
    """The scene's places and numbers by name; `inputs` and `output` are what the worker is given."""
    inputs, outputs, outside = (folder / name for name in ("inputs", "outputs", "outside"))
    for place in (inputs, outputs, outside):
        place.mkdir(parents=True)
    for name in ("input", "doomed", "renamed"):
        (inputs / name).write_bytes(b"weights")
    (outside / "hidden").write_bytes(b"hidden cases")
    (inputs / "link").symlink_to(outside / "hidden")
    (inputs / "linked").symlink_to(outside)
    (inputs / "sacrifice").write_bytes(b"cut me")
    for name in ("output", "spare", "spare-2"):
        (outputs / name).write_bytes(bytes(64))
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for address in (str(outside / "socket"), f"\0mergelab-{os.getpid()}"):
            local = stack.enter_context(socket.socket(socket.AF_UNIX))
            local.bind(address)
            local.listen()
        victim = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        )
        stack.callback(victim.kill)
        os.dup2(server.fileno(), FOREIGN_DESCRIPTOR, inheritable=True)
        stack.callback(os.close, FOREIGN_DESCRIPTOR)
        yield {
            "inputs": str(inputs),
            "outputs": str(outputs),
            "input": str(inputs / "input"),
            "sacrifice": str(inputs / "sacrifice"),
            "output": str(outputs / "output"),
            "hidden": str(outside / "hidden"),
            "repository": str(HERE.parents[2]),
            "unix": str(outside / "socket"),
            "abstract": f"mergelab-{os.getpid()}",
            "port": str(server.getsockname()[1]),
            "parent": str(os.getpid()),
            "victim": str(victim.pid),
            "descriptor": str(FOREIGN_DESCRIPTOR),
            "memory_bytes": str(MEMORY_BYTES + 1),
        }


def verdicts(folder: Path, level: str, landlock_abi: int | None = None) -> Mapping[str, Any]:
    """attack → verdict, by one worker of this user at `level`, with at most this Landlock ABI (0: none)."""
    lock = launch._lock

    def capped(*arguments: Any) -> dict[str, Any]:
        return lock(*arguments) | {"landlock_abi": landlock_abi}

    os.environ["LAB_TEST_SECRET"] = "hunter2"
    launch._lock = capped
    try:
        with jobs_of(HERE / "attacks.py"), built(folder) as scene:
            done = launch.run(
                {"kind": "attempt_all", "scene": scene},
                readable=[Path(scene["inputs"])],
                writable=[Path(scene["output"])],
                isolation=Isolation(level, "L0"),
                limits=Limits(wall_seconds=60, memory_bytes=MEMORY_BYTES),
            )
    finally:
        launch._lock = lock
    return dict(done.result)


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.stdout.write(json.dumps(verdicts(Path(given[0]), given[1], int(given[2]) if given[2:] else None)))
