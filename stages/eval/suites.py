"""From the suite of the request to cases on disk, and the digest that the suite is known by."""

from collections.abc import Mapping
from pathlib import Path

from stages.conf import Items, Suite
from stages.core.errors import BadRequest
from stages.core.records.canonical import Json, dumps
from stages.core.records.files import sha256_bytes, sha256_file
from stages.core.scoring.cases import PUBLIC_SEED, TaskPlan, draw_cases, write_cases
from stages.core.scoring.skills import SKILLS, skill_named
from stages.eval.private import Named

SPLITS = ("calibration", "search", "selection", "hidden")  # in the order of results in an evidence file


def plan(suite: Suite) -> dict[str, TaskPlan]:
    """Task → what to draw for it, in the suite's order.

    Raises BadRequest naming every task whose skill is unknown or whose kind is not that of its skill.
    """
    kinds = {skill.name: skill.kind for skill in SKILLS}
    problems = [
        f"suite.tasks.{name}.skill: unknown skill {task.skill!r} (one of: {', '.join(kinds)})"
        for name, task in suite.tasks.items()
        if task.skill not in kinds
    ]
    problems += [
        f"suite.tasks.{name}.kind: skill {task.skill!r} is of kind {kinds[task.skill]!r}, got {task.kind!r}"
        for name, task in suite.tasks.items()
        if kinds.get(task.skill, task.kind) != task.kind
    ]
    if problems:
        raise BadRequest(problems)
    return {
        name: TaskPlan(task.skill, _counts(task.items or suite.items), skill_named(task.skill).form)
        for name, task in suite.tasks.items()
    }


def suite_digest(suite: Suite, forms: Path, scorer: int) -> str:
    """SHA-256 of all that decides what is asked and how it is scored: canonical suite, skills' versions,
    the bytes of the lm-eval task files used, the scorer's version. Seeds are no part of it.
    """
    tasks = plan(suite)
    return sha256_bytes(
        dumps(
            {
                "suite": suite.model_dump(mode="json"),
                "skills": {task.skill: skill_named(task.skill).version for task in tasks.values()},
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


def describe(suite: Suite) -> Mapping[str, Json]:
    """Task → kind, parent and description, for the index of the evidence."""
    return {
        name: {"kind": task.kind, "parent": task.parent, "description": skill_named(task.skill).description}
        for name, task in suite.tasks.items()
    }


def _counts(items: Items) -> Mapping[str, int]:
    return {split: getattr(items, split) for split in SPLITS}
