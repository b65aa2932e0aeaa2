"""Jobs done in the test's own process: what a worker does after its lock, without seconds of imports.

What is said passes through JSON, as between two processes. Real workers are tested in test_workers.py.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from stages.core.sandbox import jobs, launch
from stages.core.sandbox.launch import Outcome


class Teller:
    """What a job says, handed on at once."""

    def __init__(self, on_part: Any, on_progress: Any = None) -> None:
        self.on_part, self.on_progress = on_part, on_progress

    def __call__(self, done: int, total: int) -> None:
        assert 0 <= done <= total
        if self.on_progress is not None:
            self.on_progress(done, total)

    def part(self, value: Any) -> None:
        self.on_part(json.loads(json.dumps(value, allow_nan=False)))


def run(job: Mapping[str, Any], *, on_part: Any = None, on_progress: Any = None, **options: Any) -> Outcome:
    """launch.run, in this process."""
    assert all(path.exists() for path in options["readable"])
    wire = json.loads(json.dumps(dict(job)))
    result = jobs.find(wire["kind"])(wire, Teller(on_part, on_progress))
    return Outcome(json.loads(json.dumps(result)), {"level": "none"}, {})


@contextmanager
def this_process() -> Iterator[None]:
    """Until it ends, every job is done here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "run", run)
        yield
