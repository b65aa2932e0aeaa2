"""One measured run in a process of its own: a floor or a merge, told on standard input, answered on output.

Floors import neither torch nor numpy. `cpu` and `wall` leave out the interpreter's start and imports, which
the parent process adds as `start`.
"""

import hashlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

BLOCK_BYTES = 1 << 19  # the engine's default block in bfloat16
FILE = "model.safetensors"


def copy(job: dict[str, Any], *, verified: bool) -> None:
    """Read every input in turns, block by block, and write the last; verified: hash all of them and it."""
    from stages.core.weights.threads import OrderedSha256, Threads

    handles = [os.open(Path(folder) / FILE, os.O_RDONLY) for folder in job["inputs"]]
    size = os.fstat(handles[0]).st_size
    target = os.open(Path(job["output"]) / FILE, os.O_WRONLY)
    with Threads(job["threads"], len(handles)) as crew:
        digests = [OrderedSha256(lane) for lane in (*crew.inputs, crew.output)]
        for start in range(0, size, BLOCK_BYTES):
            block = memoryview(b"")
            for handle, digest in zip(handles, digests, strict=False):
                block = memoryview(bytearray(min(BLOCK_BYTES, size - start)))
                os.preadv(handle, [block], start)
                if verified:
                    digest.update(block)
            os.pwrite(target, block, start)
            if verified:
                digests[-1].update(block)
        found = [digest.hexdigest() for digest in digests]
        os.fsync(target)
    if verified and found[-1] != found[-2]:
        raise AssertionError("the copy differs from the input")


def merge(job: dict[str, Any]) -> dict[str, str]:
    """The engine's digests of the merged files."""
    from stages.core.records.recipe import from_json
    from stages.core.weights import engine, plan

    sources = {digest: Path(folder) for digest, folder in job["sources"].items()}
    planned = plan.plan(from_json(job["recipe"]), sources)
    done = engine.execute(
        planned,
        sources,
        job["manifests"],
        Path(job["output"]),
        threads=job["threads"],
        backend=backend(job, planned),
    )
    return dict(done.files)


def in_place(job: dict[str, Any]) -> dict[str, str]:
    """Merge into live tensors, made and touched before the clock starts; their digest."""
    import torch

    from stages.core.records.recipe import from_json
    from stages.core.weights import engine, plan

    sources = {digest: Path(folder) for digest, folder in job["sources"].items()}
    planned = plan.plan(from_json(job["recipe"]), sources)
    live = {one.name: torch.zeros(one.shape, dtype=getattr(torch, one.dtype)) for one in planned.jobs}
    _start(job)
    engine.merge_into(planned, sources, live, threads=job["threads"], backend=backend(job, planned))
    _stop(job)
    digest = hashlib.sha256(planned.texts[FILE])
    for one in planned.jobs:
        digest.update(live[one.name].view(-1).view(torch.uint8).numpy().data)
    return {FILE: digest.hexdigest()}


def backend(job: dict[str, Any], planned: Any) -> Any:
    """The kernels, compiled beforehand by the parent process, or None for torch."""
    if job["kernels"] is None:
        return None
    from stages.core.weights.kernels import fast

    return fast.load(planned, Path(job["kernels"]))


def _start(job: dict[str, Any]) -> None:
    job["began"] = time.process_time(), time.monotonic()


def _stop(job: dict[str, Any]) -> None:
    job["took"] = time.process_time() - job["began"][0], time.monotonic() - job["began"][1]


def main() -> None:
    """Do the job on standard input and print its times and digests as JSON."""
    job = json.loads(sys.stdin.read())
    kind, files = job["kind"], {}
    if kind in ("merge", "in_place"):
        plain = "stages.core.weights.plain"
        importlib.import_module(plain if job["kernels"] is None else "stages.core.weights.kernels.fast")
    _start(job)
    if kind == "in_place":
        files = in_place(job)
    elif kind == "merge":
        files = merge(job)
        _stop(job)
    else:
        copy(job, verified=kind == "verified")
        _stop(job)
    print(json.dumps({"cpu": job["took"][0], "wall": job["took"][1], "files": files}))  # noqa: T201


if __name__ == "__main__":
    main()
