"""What the engine and the command take beside a recipe: the one place to change when they offer more.

`KINDS` are the columns of a method, run in this order. A job says its `kind` and two folders: `kernels`
lives through all rounds (compiled once per machine); `cache` is emptied before every cold run, and is as that
run left it for the kinds after it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KINDS: Mapping[str, str] = {
    "cold": "digests verified and computed, statistics computed",
    "cached": "digests of the inputs and statistics known from the run before",
    "in place": "into a live model, inputs not hashed, statistics known",
}
"""Column -> what it means."""

IMPORTS = (
    "stages.core.records.recipe",
    "stages.core.weights.engine",
    "stages.core.weights.plan",
    "stages.core.weights.kernels.ready",
    "stages.core.weights.kernels.fast",
)
"""What a merging process imports before its work is timed: that is its start."""

STATISTICS = ("stages.core.weights.statistics", "Known", "gather")
"""Module, class and name of the function that works out the statistics of one tensor, for --profile."""

HASHES = tuple(("stages.core.weights.hashing", "Paired", name) for name in ("update", "update_beside"))
"""The same of the functions that hash without hashlib."""


class Offer:
    """What one job hands to the engine. job: as Bench.run makes it; planned: its plan."""

    def __init__(self, job: Mapping[str, Any], planned: Any) -> None:
        from stages.core.weights.kernels import ready
        from stages.core.weights.kernels.fast import Fast
        from stages.core.weights.statistics import Known

        os.environ["XDG_CACHE_HOME"] = job["kernels"]
        folder = ready.ensure(planned)
        self._path = Path(job["cache"]) / "statistics.json"
        given = json.loads(self._path.read_text()) if job["kind"] != "cold" and self._path.exists() else {}
        self.known = Known(given)
        self.keywords: dict[str, Any] = {
            "threads": job["threads"],
            "backend": None if folder is None else Fast(planned, folder),
            "known": self.known,
        }
        if job["kind"] == "cached":
            from stages.core.records.seen import stamp

            self.keywords["stamps"] = {
                digest: {name: stamp((Path(folder) / name).stat()) for name in job["manifests"][digest]}
                for digest, folder in job["sources"].items()
            }

    def keep(self) -> None:
        """Leave the statistics for the kinds that come after a cold run."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.known.found))


def command_environment(kernels: Path) -> dict[str, str]:
    """Variables that tell `mergelab merge` where it keeps compiled kernels, statistics and digests."""
    return {"XDG_CACHE_HOME": str(kernels)}


def command_memory(kernels: Path) -> Path:
    """The folder of statistics and digests alone."""
    return kernels / "mergelab" / "memory"
