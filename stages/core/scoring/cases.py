"""Cases: the items of a split, one JSONL file per task, and the digest that they are known by.

A case file holds one `Item` a line; evidence lists its answers in the order of the lines.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from stages.core.errors import LabError
from stages.core.records.canonical import Json, dumps
from stages.core.records.files import sha256_bytes, sha256_file, write_text
from stages.core.scoring import datafile
from stages.core.scoring.skills import draw
from stages.core.scoring.skills.items import FORM, Item

# Every split except hidden is drawn from this seed: nothing in it is meant to be secret.
PUBLIC_SEED: Final = 0


@dataclass(frozen=True)
class TaskPlan:
    """One task: the skill its items come from, how many per split, and the lm-eval task file they go into,
    conf/suite/lm_eval/<form>.yaml. data: the file they come from in place of a skill, whose name is then that
    of the task; kind: what is asked of its lines.
    """

    skill: str
    items: Mapping[str, int]
    form: str = FORM
    data: Path | None = None
    kind: str = "shared"


def draw_cases(plan: Mapping[str, TaskPlan], split: str, seed: int) -> dict[str, list[Item]]:
    """Task → items of that split, the same for the same arguments.

    Raises LabError as `skills.draw` and `datafile.draw` do, BadRequest as `datafile.read` does.
    """
    return {name: _drawn(name, task, split, seed) for name, task in plan.items()}


def _drawn(name: str, task: TaskPlan, split: str, seed: int) -> list[Item]:
    if task.data is None:
        return draw(task.skill, split, task.items[split], seed)
    return datafile.draw(datafile.read(task.data, name, task.kind), name, split, task.items[split], seed)


def write_cases(directory: Path, cases: Mapping[str, Sequence[Item]]) -> None:
    """Write `directory`/<task>.jsonl for every task, each whole or absent."""
    for name, items in cases.items():
        lines = [json.dumps(asdict(item), sort_keys=True, ensure_ascii=False) for item in items]
        write_text(directory / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))


def read_cases(path: Path) -> list[Item]:
    """The items of one case file, in order. Raises LabError naming the file and line that is none."""
    return parse_cases(path.read_bytes(), str(path))


def parse_cases(text: bytes, where: str, **usual: Json) -> list[Item]:
    """The items of JSONL `text`, in order. usual: what a line need not say.

    Raises LabError naming `where` and the line that is none.
    """
    items = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            tree = usual | json.loads(line.decode("utf-8"))
            item = Item(**tree | {name: tuple(tree.get(name, ())) for name in ("choices", "strata")})
            if not item.prompt.strip() or not item.answer:
                raise ValueError("prompt and answer must hold text")
            if item.choices and item.answer not in item.choices:
                raise ValueError(f"the answer {item.answer!r} is not among the choices {list(item.choices)}")
            items.append(item)
        except (ValueError, TypeError, AttributeError) as problem:
            raise LabError(f"{where}:{number} is no case: {problem}. Run `dvc repro eval`.") from problem
    return items


def cases_digest(directory: Path, form_of: Mapping[str, str], forms: Path) -> str:
    """SHA-256 over every task's case file and lm-eval file: what a subject of these cases is asked.

    form_of: task → form; `directory` holds <task>.jsonl, `forms` <form>.yaml.
    """
    tree: Json = {
        task: [sha256_file(directory / f"{task}.jsonl"), sha256_file(forms / f"{form}.yaml")]
        for task, form in form_of.items()
    }
    return sha256_bytes(dumps(tree))
