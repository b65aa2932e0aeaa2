"""What the engine and the command take beside a recipe: the one place to change when they offer more.

`KINDS` are the columns of a method, run in this order. A job says its `kind` and two folders: `kernels`
lives through all rounds (compiled once per machine); `cache` is emptied before every cold run, and is as that
run left it for the kinds after it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

KINDS: Mapping[str, str] = {
    "cold": "digests verified and computed, statistics computed",
    "in place": "into a live model, inputs not hashed",
}
"""Column -> what it means. "cached" belongs between these two once statistics and digests are kept."""

IMPORTS = ("stages.core.records.recipe", "stages.core.weights.engine", "stages.core.weights.plan")
"""What a merging process imports before its work is timed: that is its start."""

STATISTICS = ("stages.core.weights.engine", "gather")
"""Module and name of the function that works out the statistics of one tensor, for --profile."""


def engine_keywords(job: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of engine.execute and engine.merge_into. job: as Bench.run makes it."""
    return {"threads": job["threads"]}


def command_environment(kernels: Path, cache: Path) -> dict[str, str]:
    """Variables that tell `mergelab merge` where it keeps compiled kernels, and statistics and digests."""
    return {"XDG_CACHE_HOME": str(cache), "NUMBA_CACHE_DIR": str(kernels)}


def command_words() -> list[str]:
    """Options of `mergelab merge` beside the recipe, --out and --unreviewed."""
    return []
