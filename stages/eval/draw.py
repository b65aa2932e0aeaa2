"""The cases of every split, written where their readers find them, once it is known that they may be used.

Hidden cases are drawn here and nowhere else: after the candidate set is frozen. Nobody answers them before it
was seen that the search knew none of them, and before the look at them is entered in the ledger. Private ones
never reach an output: data/cases holds them veiled, and workers read them from a folder of the work cache
that goes when they are done.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stages.conf import Suite
from stages.core.records.canonical import Json
from stages.core.records.files import drafted
from stages.core.records.policy import LooksPolicy
from stages.core.scoring.cases import TaskPlan, cases_digest, draw_cases, write_cases
from stages.eval import hidden, leaks, private, suites
from stages.eval.answers import Split
from stages.eval.looks import Look, Source, look


@dataclass(frozen=True)
class Rooms:
    """Where cases lie. cases: output of the stage; forms: lm-eval's task files; ledger: of looks at hidden
    cases; vault: for private cases while workers answer them; searched: what the search left behind.
    """

    cases: Path
    forms: Path
    ledger: Path
    vault: Path
    searched: Sequence[Path]


@dataclass(frozen=True)
class Drawn:
    """What the rest of the stage needs. hidden: for the index; private: tasks that nobody may quote."""

    splits: Sequence[Split]
    hidden: Json
    private: frozenset[str]


@contextmanager
def drawn(suite: Suite, digest: str, frozen: str, policy: LooksPolicy, rooms: Rooms) -> Iterator[Drawn]:
    """Draw every split of the suite for the candidate set `frozen` (its digest). digest: the suite's.

    Raises BadRequest for private files that are not what the request names, LabError where no look is left or
    where a hidden case was known before.
    """
    plan = suites.plan(suite)
    sealed = private.read(suites.private_files(suite))
    seed, seal = hidden.hidden_seed(frozen, digest), hidden.hidden_seal(frozen, digest)
    fresh = {name: task for name, task in plan.items() if name not in sealed}
    asked = draw_cases(fresh, "hidden", seed) | sealed
    asked = {task: [replace(item, seal=seal) for item in asked[task]] for task in plan}
    with drafted(rooms.cases) as draft:
        suites.write_public(plan, draft)
        shown = {task: private.veiled(items) if task in sealed else items for task, items in asked.items()}
        write_cases(draft / "hidden", shown)
        leaks.refuse_leaks(draft, asked, seal, rooms.searched)
        looks = look(rooms.ledger, _sources(suite, digest, policy), frozen)
    folders = {split: rooms.cases / split for split in suites.SPLITS}
    try:
        if sealed:
            shutil.rmtree(rooms.vault, ignore_errors=True)
            rooms.vault.mkdir(parents=True, mode=0o700)
            folders["hidden"] = rooms.vault
            write_cases(rooms.vault, asked)
        sizes = {task: len(items) for task, items in asked.items()}
        yield Drawn(
            [_split(name, folder, plan, sizes, rooms.forms) for name, folder in folders.items()],
            _record(seed, frozen, seal, looks),
            frozenset(sealed),
        )
    finally:
        shutil.rmtree(rooms.vault, ignore_errors=True)


def _sources(suite: Suite, digest: str, policy: LooksPolicy) -> list[Source]:
    """The suite's generators, and each private file."""
    fresh = [Source("fresh", digest, policy.fresh)]
    return fresh + [Source(one.task, one.hmac, policy.private) for one in suites.private_files(suite)]


def _split(
    name: str, folder: Path, plan: Mapping[str, TaskPlan], hidden_sizes: Mapping[str, int], forms: Path
) -> Split:
    form_of = {task: one.form for task, one in plan.items()}
    sizes = hidden_sizes if name == "hidden" else {task: one.items[name] for task, one in plan.items()}
    return Split(name, cases_digest(folder, form_of, forms), sizes, folder, forms, form_of)


def _record(seed: int, frozen: str, seal: str, looks: Sequence[Look]) -> Json:
    return {
        "seed": seed,
        "frozen": frozen,
        "seal": seal,
        "looks": {one.source.name: one.to_json() for one in looks},
    }
