"""One merge outside the pipeline: the same plan, worker, engine and lineage, into a folder of the user's.

    read = recipe_file.load(Path("ties.yaml"), recipe_file.folders(Path.cwd(), []))
    print(survey(read, out, unreviewed=False).text())              # headers alone; nothing is written
    print(merge(read, out, unreviewed=False, report=report).text())

No eligibility stage has judged the parents and no gate sees the result, so it is never a candidate: it is
refused a place under data/, and its lineage says that it was made by hand and which parents have no card.
The same recipe gives the same bytes in every file but run.json.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stages.core.errors import BadRequest
from stages.core.progress import Report, narrate
from stages.core.records import lineage as lineages
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.records.files import cache_folder, write_text
from stages.core.records.lineage import Lineage, Material, Proposal
from stages.core.records.manifest import Manifest
from stages.core.records.recipe import Recipe
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits
from stages.core.weights import budget, hashing, registry
from stages.core.weights import plan as plans
from stages.core.weights.fitting import FLOATS
from stages.core.weights.kernels import ready
from stages.core.weights.numerics import NUMERICS
from stages.core.weights.plan import Plan
from stages.core.weights.reader import Checkpoint
from stages.merge import hand_card, hand_family, indexing, output_folder, recipe_file
from stages.merge.build import BUILT, Parent, Workshop, arithmetic, build, environment, prepare
from stages.merge.hand_family import Model
from stages.merge.memory import Memory
from stages.merge.recipe_file import RecipeFile

CONSTRAINTS: Final = Path(__file__).resolve().parents[2] / "constraints.txt"
ISOLATION: Final = Isolation("L2", "L2")  # one level on all machines, so that the lineage is one too
SECONDS_PER_BYTE: Final = 1e-7  # of a worker, at the least: 10 MB/s, a slow disk under load
PROGRESS_STEPS: Final = 20  # one line each where there is no terminal
PROCEDURE: Final = "by hand"
THREADS: Final = min(4, os.cpu_count() or 1)  # more wait for the disk
KERNEL_BYTES: Final = 1 << 28  # the kernel hashes them .07 s sooner than hashlib, and takes .05 s to load


@dataclass(frozen=True)
class Survey:
    """A merge worked out from headers alone. provisional: ids hold names instead of digests not yet taken.

    choice: what a byte budget will read, if the indexes of the parents are remembered.
    """

    recipe: Recipe
    plan: Plan
    provisional: bool
    unreviewed: tuple[str, ...]
    notes: tuple[str, ...]
    choice: budget.Choice | None = None

    def to_json(self) -> Json:
        """One JSON document, the whole plan in it; with what a budget will read, if that is known."""
        return {
            "id": self.recipe.id,
            "recipe": self.recipe.to_json(),
            "provisional": self.provisional,
            "unreviewed": list(self.unreviewed),
            "notes": list(self.notes),
            "plan": self.plan.describe(),
            **({} if self.choice is None else {"budget": self.choice.to_json(self.plan)}),
        }

    def text(self) -> str:
        """The plan for people."""
        plan = self.plan
        lines = [
            f"{self.recipe.id}  {self.recipe.method}" + ("  (provisional id)" if self.provisional else ""),
            *(f"  {name}  {value}" for name, value in self.recipe.parameters.items()),
            f"  output  {self.recipe.output_dtype}, {len(plan.jobs)} tensors in {len(plan.files)} files",
            f"  reads {plan.bytes_read} bytes, writes {plan.bytes_written}, memory about {plan.peak_bytes}",
            *budget.foretold(plan, self.choice),
            *_remarks(self.unreviewed, self.notes),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Made:
    """A finished merge. folder: where it lies."""

    recipe: Recipe
    folder: Path
    artifact: Manifest
    unreviewed: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> Json:
        """One JSON document."""
        return {
            "id": self.recipe.id,
            "folder": str(self.folder),
            "artifact": self.artifact.digest,
            "files": {name: record.sha256 for name, record in self.artifact.files.items()},
            "bytes": sum(record.bytes for record in self.artifact.files.values()),
            "unreviewed": list(self.unreviewed),
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """The result for people."""
        lines = [f"{self.recipe.id}  {self.recipe.method}  {self.folder}"]
        lines += [f"  {name}  sha256 {record.sha256}" for name, record in self.artifact.files.items()]
        return "\n".join([*lines, *_remarks(self.unreviewed, self.notes)])


def run(
    recipe: Path,
    out: Path,
    base_dir: Path,
    models: Sequence[str],
    *,
    unreviewed: bool,
    dry_run: bool,
    fresh: bool = False,
    memory_bytes: int = plans.MEMORY_BYTES,
) -> Survey | Made:
    """What `mergelab merge` does: read `recipe`, then survey it or merge it, with progress on stderr.

    base_dir, models: as recipe_file.folders takes them. fresh: use nothing that earlier merges found out.
    memory_bytes: as plan.plan takes it.
    """
    read = recipe_file.load(recipe, recipe_file.folders(base_dir, models))
    memory = Memory() if fresh else Memory(cache_folder() / "memory")
    output_folder.free(out)
    found = hand_family.look(read)
    surveyed = _surveyed(read, found, memory, unreviewed=unreviewed)
    if dry_run:
        return surveyed
    prepare([surveyed.plan])
    taken = _taken(found, memory)
    del found  # with every tokenizer in it
    with narrate("percent merged") as report:
        return _merged(read, out, surveyed, taken, memory=memory, report=report, memory_bytes=memory_bytes)


def survey(
    read: RecipeFile,
    out: Path,
    *,
    unreviewed: bool,
    memory: Memory = Memory(),  # noqa: B008 -- frozen, and remembers nothing
) -> Survey:
    """What `merge` would do and cost; no weight is read and nothing is written.

    memory: where indexes may be remembered, by which a byte budget chooses.
    Raises LabError as `merge` does, for everything that headers, cards and configurations show.
    """
    output_folder.free(out)
    return _surveyed(read, hand_family.look(read), memory, unreviewed=unreviewed)


def _surveyed(read: RecipeFile, models: Sequence[Model], memory: Memory, *, unreviewed: bool) -> Survey:
    lacking = hand_family.unreviewed(models, allowed=unreviewed)
    hand_family.check_alike(models, read.method)
    family = [hand_family.provisional(model) for model in models]
    recipe = _recipe(read, family)
    plan = plans.plan(recipe, {parent.digest: parent.folder for parent in family})
    hand_family.check_described(plan, models)
    return Survey(recipe, plan, bool(lacking), lacking, read.notes, indexing.foretold(plan, memory))


def merge(
    read: RecipeFile,
    out: Path,
    *,
    unreviewed: bool,
    memory: Memory,
    report: Report,
) -> Made:
    """Merge into the folder `out`, which must be empty or absent; it appears whole or not at all.

    unreviewed: take parents without a card, their digests computed now. memory: what earlier merges of the
    same parents found out; Memory() takes every digest and statistic again. report: called in 20 steps.
    Raises BadRequest (parents without cards, models that differ), LabError (the place is taken),
    Unmergeable, BadCheckpoint, NotIsolated, WorkerFailed.
    """
    output_folder.free(out)
    found = hand_family.look(read)
    surveyed = _surveyed(read, found, memory, unreviewed=unreviewed)
    return _merged(read, out, surveyed, _taken(found, memory), memory=memory, report=report)


@dataclass(frozen=True)
class _Taken:
    """The models by their digests. reviewed: folder → sha256 of the card that lies there."""

    family: tuple[Parent, ...]
    reviewed: Mapping[Path, str]


def _taken(found: Sequence[Model], memory: Memory) -> _Taken:
    large = [path for model in found for path in hand_family.unhashed(model)]
    digests = memory.digests.digests(large, _together)
    family = tuple(hand_family.acquired(model, digests) for model in found)
    return _Taken(family, {one.folder: one.found.digest(manifests.CARD) for one in found if one.manifest})


def _together(paths: Sequence[Path]) -> list[str]:
    """sha256 of files; two at a time, by the kernel, where that is worth loading it."""
    pair = None
    if sum(path.stat().st_size for path in paths) >= KERNEL_BYTES and (folder := ready.hashing()):
        from stages.core.weights.kernels.fast import pair_from  # 50 ms

        pair = pair_from(folder)
    return hashing.of_files(paths, threads=THREADS, pair=pair)


def _merged(
    read: RecipeFile,
    out: Path,
    surveyed: Survey,
    taken: _Taken,
    *,
    memory: Memory,
    report: Report,
    memory_bytes: int = plans.MEMORY_BYTES,
) -> Made:
    """The merge that was surveyed, as `merge` says. memory_bytes: as plan.plan takes it."""
    out, planned = out.resolve(), surveyed.plan
    recipe = _recipe(read, taken.family)
    moved = planned.bytes_read + budget.index_bytes(planned) + planned.bytes_written
    workshop = Workshop(
        family=taken.family,
        isolation=ISOLATION,
        limits=generous(moved),
        environment=environment(CONSTRAINTS),
        memory=memory,
        threads=THREADS,
        memory_bytes=memory_bytes,
    )
    with output_folder.draft(out) as draft:
        run = build(recipe, workshop, draft, _in_steps(report))
        lineage = _lineage(read, recipe, workshop, taken.reviewed, draft)
        (draft / BUILT).unlink()
        write_json(draft / lineages.NAME, lineage.to_json())
        write_text(draft / hand_card.NAME, hand_card.hand_card(lineage))
        write_json(draft / "run.json", run)
    return Made(recipe, out, lineage.artifact, surveyed.unreviewed, read.notes)


def generous(moved_bytes: int) -> Limits:
    """The limits of a worker that reads and writes so many bytes on a slow disk under load."""
    limits = Limits()
    return replace(
        limits,
        wall_seconds=limits.wall_seconds + moved_bytes * SECONDS_PER_BYTE,
        cpu_seconds=limits.cpu_seconds + int(moved_bytes * SECONDS_PER_BYTE),
    )


def _recipe(read: RecipeFile, family: Sequence[Parent]) -> Recipe:
    """The recipe by digests. A base is named if the method subtracts it, or if it carries the tokenizer."""
    method = registry.get(read.method)
    digests = {parent.folder: parent.digest for parent in family}
    parents = tuple(digests[one.folder] for one in read.parents)
    base = digests[read.base.folder] if read.base else None
    if method.space == "weight" and base == parents[0]:
        base = None  # what it would carry over comes from the first parent anyway: one merge, one id
    return Recipe(
        method=method.name,
        method_version=method.version,
        base=base,
        parents=parents,
        parameters=read.parameters,
        seed=read.seed if method.random else 0,
        output_dtype=read.output_dtype or _dtype(family[0].folder),
        numerics=NUMERICS,
    )


def _dtype(folder: Path) -> str:
    """The one floating type of a checkpoint. Raises BadRequest if it holds several: somebody must choose."""
    held = [spec.dtype for spec in Checkpoint(folder).tensors.values()]
    floats = sorted(dict.fromkeys(name for name in held if name in FLOATS))
    if len(floats) != 1:
        found = ", ".join(floats) or "no type that can be merged"
        raise BadRequest([f"output_dtype: missing, and {folder.name} holds {found}. State it in the recipe"])
    return floats[0]


def _lineage(
    read: RecipeFile, recipe: Recipe, workshop: Workshop, reviewed: Mapping[Path, str], draft: Path
) -> Lineage:
    """reviewed: folder of a parent → sha256 of its card, as it was read."""
    built = read_json(draft / BUILT)
    return Lineage(
        recipe=recipe,
        artifact=manifests.load(draft),
        materials=[_material(parent, reviewed) for parent in workshop.sources(recipe).values()],
        proposal=Proposal(PROCEDURE, 0, f"{recipe.method}, written by hand"),
        arithmetic=arithmetic(built),
        isolation=built["isolation"],
        environment=built["environment"],
        search={
            "name": PROCEDURE,
            "version": 1,
            "selection_data_sha256": None,
            "recipe_file": {"dialect": read.dialect, "sha256": read.sha256, "notes": list(read.notes)},
        },
    )


def _material(parent: Parent, reviewed: Mapping[Path, str]) -> Material:
    return Material(
        id=parent.id,
        role=parent.role,
        digest=parent.digest,
        files={name: record.sha256 for name, record in parent.manifest.files.items()},
        licence=parent.card["licence"]["weights"] if parent.card else "unknown",
        card_sha256=reviewed.get(parent.folder),
    )


def _in_steps(report: Report) -> Callable[[int, int], None]:
    """Bytes as twentieths, each reported once."""
    last = -1

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        step = PROGRESS_STEPS * done // max(total, 1)
        if step > last:
            last = step
            report(step * (100 // PROGRESS_STEPS), 0, 100)

    return on_progress


def _remarks(unreviewed: Sequence[str], notes: Sequence[str]) -> list[str]:
    return [f"  not reviewed: {name}, it has no card" for name in unreviewed] + [
        f"  note: {note}" for note in notes
    ]
