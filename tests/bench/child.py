"""One measured run in a process of its own: a floor or a merge, told on standard input, answered on output.

Floors import neither torch nor numpy. `cpu` and `wall` of the answer leave out the interpreter's start and
imports; the parent process measures the whole.
"""

import hashlib
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.bench.floors import DIRECT, FILE, FLOORS, copy


def floor(job: dict[str, Any]) -> dict[str, str]:
    """Copy the last input; the digest that the verified copy found, which is checked against the input's."""
    inputs = [Path(folder) / FILE for folder in job["inputs"]]
    verified, direct = job["kind"] != "copy", job["kind"] == DIRECT
    output = Path(job["output"]) / FILE
    found = copy(inputs, output, threads=job["threads"], verified=verified, direct=direct)
    if verified and found[-1] != found[-2]:
        raise AssertionError("the copy differs from the input")
    return {FILE: found[-1]} if verified else {}


def merge(job: dict[str, Any]) -> dict[str, str]:
    """The engine's digests of the merged files."""
    from stages.core.weights import engine
    from tests.bench import offers

    planned, sources = _planned(job)
    output = Path(job["output"])
    offer = offers.Offer(job, planned)
    done = engine.execute(planned, sources, job["manifests"], output, **offer.keywords)
    if job["kind"] == "cold":
        offer.keep()
    return dict(done.files)


def in_place(job: dict[str, Any]) -> dict[str, str]:
    """Merge into live tensors, made and touched before the clock starts; what their file would hash to."""
    import torch

    from stages.core.weights import engine
    from tests.bench import offers

    planned, sources = _planned(job)
    live = {one.name: torch.zeros(one.shape, dtype=getattr(torch, one.dtype)) for one in planned.jobs}
    offer = offers.Offer(job, planned)
    _start(job)
    engine.merge_into(planned, sources, live, **offer.keywords)
    _stop(job)
    digest = hashlib.sha256(planned.texts[FILE])
    for one in planned.jobs:
        digest.update(live[one.name].view(-1).view(torch.uint8).numpy().data)
    return {FILE: digest.hexdigest()}


def _planned(job: dict[str, Any]) -> tuple[Any, dict[str, Path]]:
    from stages.core.records.recipe import from_json
    from stages.core.weights import plan

    sources = {digest: Path(folder) for digest, folder in job["sources"].items()}
    return plan.plan(from_json(job["recipe"]), sources), sources


def _start(job: dict[str, Any]) -> None:
    job["began"] = time.process_time(), time.monotonic()


def _stop(job: dict[str, Any]) -> None:
    job["took"] = time.process_time() - job["began"][0], time.monotonic() - job["began"][1]


def main() -> None:
    """Do the job on standard input and print its times and digests as JSON."""
    job = json.loads(sys.stdin.read())
    action = floor if job["kind"] in FLOORS else in_place if job["kind"] == "in place" else merge
    parts = None
    if action is not floor:
        for name in importlib.import_module("tests.bench.offers").IMPORTS:
            importlib.import_module(name)
    if job.get("profile"):
        parts = importlib.import_module("tests.bench.parts").watch(merging=action is not floor)
    _start(job)
    files = action(job)
    if action is not in_place:
        _stop(job)
    told = {"cpu": job["took"][0], "wall": job["took"][1], "files": files}
    print(json.dumps(told | {"parts": parts.finish() if parts else {}}))  # noqa: T201


if __name__ == "__main__":
    main()
