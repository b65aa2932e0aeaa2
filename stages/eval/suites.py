"""From the suite of the request to cases on disk, and the digest that the suite is known by."""

from collections.abc import Mapping
from pathlib import Path

from stages.conf import Suite
from stages.core.records.canonical import Json, dumps
from stages.core.records.files import sha256_bytes, sha256_file
from stages.core.scoring.cases import PUBLIC_SEED, TaskPlan, draw_cases, write_cases
from stages.core.scoring.skills import skill_named
from stages.core.scoring.skills.items import ANSWERLESS
from stages.eval.private import Named
from stages.tasks import SPLITS, plan
from stages.tasks import describe as words

__all__ = ["SPLITS", "answered", "describe", "plan", "private_files", "suite_digest", "write_public"]


def suite_digest(suite: Suite, forms: Path, scorer: int) -> str:
    """SHA-256 of all that decides what is asked and how it is scored: canonical suite, skills' versions,
    the bytes of the lm-eval task files and data files used, the scorer's version. Seeds and baselines are no
    part of it.
    """
    tasks = plan(suite)
    return sha256_bytes(
        dumps(
            {
                "suite": suite.model_dump(mode="json", exclude={"baselines"}),
                "skills": {
                    task.skill: skill_named(task.skill).version for task in tasks.values() if not task.data
                },
                "data": {name: sha256_file(task.data) for name, task in tasks.items() if task.data},
                "forms": {task.form: sha256_file(forms / f"{task.form}.yaml") for task in tasks.values()},
                "scorer": scorer,
            }
        )
    )


def write_public(tasks: Mapping[str, TaskPlan], output: Path) -> None:
    """Draw every split but the hidden one, and write `output`/<split>/<task>.jsonl."""
    for split in SPLITS:
        if split != "hidden":
            write_cases(output / split, draw_cases(tasks, split, PUBLIC_SEED))


def private_files(suite: Suite) -> list[Named]:
    """The private hidden files that the suite names, in its order."""
    return [
        Named(name, task.private.file, task.private.hmac)
        for name, task in suite.tasks.items()
        if task.private is not None
    ]


def answered(suite: Suite) -> list[str]:
    """The tasks that have an answer which somebody should give: by these an ensemble may be fitted."""
    return [name for name, task in suite.tasks.items() if task.kind not in ANSWERLESS]


def describe(suite: Suite) -> Mapping[str, Json]:
    """Task → kind, parent and description, for the index of the evidence."""
    return {
        name: {"kind": task.kind, "parent": task.parent, "description": words(task)}
        for name, task in suite.tasks.items()
    }
