"""What a merging worker can learn of the hidden cases, in the layout of a repository."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stages.conf import Request
from stages.core.sandbox import launch
from stages.core.sandbox.launch import Outcome
from stages.core.sandbox.levels import Isolation
from stages.merge.build import Workshop
from tests.core.sandbox.scene import jobs_of
from tests.core.sandbox.test_launch import HERE as SANDBOX
from tests.merge.test_stage import make

SEEN = {"L2": "named", "L3": "nothing"}  # at L2 `stat` answers, and no more (landlock.py)


def test_a_merging_worker_reads_no_hidden_case_and_cannot_name_one_at_l3(
    request_for: Request, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    places: list[dict[str, Any]] = []
    real = launch.run

    def watch(job: Mapping[str, Any], **options: Any) -> Outcome:
        places.append({name: options[name] for name in ("readable", "writable")})
        return real(job, **options)

    with monkeypatch.context() as patch:
        patch.setattr(launch, "run", watch)
        make(request_for, workshop, tmp_path)
    hidden, parent = tmp_path / "cases/hidden/copy.jsonl", tmp_path / "parents/left/model.safetensors"
    hidden.parent.mkdir(parents=True)
    hidden.write_text("{}")
    paths = [str(path) for path in (hidden, hidden.parent, hidden.parent.parent, parent)]
    with jobs_of(SANDBOX / "misdeeds.py"):
        for given in places:
            kept = {"readable": given["readable"], "writable": []}  # its outputs were published meanwhile
            seen = launch.run({"kind": "look", "paths": paths}, isolation=Isolation(level), **kept).result
            assert list(seen.values()) == [SEEN[level]] * 3 + ["read"]
    assert len(places) == 3
