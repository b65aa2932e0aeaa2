"""Hydra multirun over whole experiments: each job is a DVC experiment in its own folder.

`mergelab run -m method=ties,slerp budget=smoke` expands Hydra's sweep grammar with Hydra's own sweeper and
hands each job to DVC, which composes, runs and records it; the working tree is not touched.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from stages.compose import request
from stages.core.errors import BadRequest, LabError


def jobs(root: Path, overrides: Sequence[str]) -> list[list[str]]:
    """The override lists of a sweep, in Hydra's order, each composed once to refuse all mistakes first.

    Raises BadRequest with the problems of every job.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        found: list[list[str]] = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    except HydraException as failure:
        raise BadRequest([" ".join(str(failure).split())]) from None
    problems: list[str] = []
    for job in found:
        try:
            request(root, job)
        except BadRequest as refused:
            problems += refused.problems
    if problems:
        raise BadRequest(list(dict.fromkeys(problems)))
    return found


def run_job(root: Path, job: Sequence[str], name: str) -> str:
    """Reproduce one job as DVC experiment `name`; returns its revision. Finished candidates are shared.

    Raises LabError when DVC refuses or a stage fails.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from hydra.core.global_hydra import GlobalHydra

    os.environ.setdefault("MERGELAB_STORE", str((root / ".mergelab").resolve()))
    GlobalHydra.instance().clear()
    before = Path.cwd()
    try:
        with Repo(str(root)) as repo:
            results = repo.experiments.run(tmp_dir=True, params=list(job), name=name)
    except DvcException as failure:
        raise LabError(f"experiment {name} ({' '.join(job)}): {failure}") from failure
    finally:
        os.chdir(before)
        GlobalHydra.instance().clear()
    return str(next(iter(results)))


def name_of(job: Sequence[str], digest: str) -> str:
    """A name for `dvc exp`: the overrides' values, and six hex characters of the request's digest."""
    words = "-".join(override.split("=", 1)[-1] for override in job)
    readable = "".join(c if c.isalnum() else "-" for c in words.lower()).strip("-")[:40]
    return f"{readable or 'default'}-{digest[:6]}"
