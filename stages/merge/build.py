"""One candidate, from recipe to folder: plan, disposable worker, package.

Used by the stage, by `verify` and by `rebuild`: there is one way to make a candidate's bytes.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from platform import python_version_tuple

from stages.core.errors import BadCheckpoint, LabError
from stages.core.progress import Report, narrate
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.records.files import sha256_bytes, sha256_file
from stages.core.records.manifest import FileRecord, Manifest
from stages.core.records.recipe import Recipe
from stages.core.sandbox import launch
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits
from stages.core.weights import numerics, writer
from stages.core.weights import plan as plans
from stages.core.weights.kernels import ready
from stages.core.weights.plan import Plan
from stages.merge import configuration, indexing
from stages.merge.memory import Memory
from stages.merge.quota import Quota

BUILT = "built.json"
CARRIED = (  # what a merge takes over from its base, or from its first parent if it has none
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
SHA256 = re.compile("[0-9a-f]{64}")
COSTS = ("bytes_read", "bytes_written", "peak_bytes")  # of a plan: estimates, which no lineage should hold


@dataclass(frozen=True)
class Parent:
    """An acquired artifact: configured id, role, its folder, its manifest and card."""

    id: str
    role: str
    folder: Path
    manifest: Manifest
    card: Json

    @property
    def digest(self) -> str:
        """The manifest digest: the identity by which recipes name it."""
        return self.manifest.digest


@dataclass(frozen=True)
class Workshop:
    """Where and under which rules candidates are made."""

    family: tuple[Parent, ...]  # the base first, then the parents in order
    isolation: Isolation
    limits: Limits
    environment: Json
    memory: Memory = Memory()  # noqa: RUF009 -- frozen, and remembers nothing
    threads: int = 1  # of each worker; no part of any identity, as the next
    memory_bytes: int = plans.MEMORY_BYTES  # of a merge beside its interpreter
    quota: Quota | None = None  # of the lab as a whole; no part of any identity either

    def find(self, digest: str) -> Parent:
        """The parent of that digest. Raises LabError when it has not been acquired."""
        for parent in self.family:
            if parent.digest == digest:
                return parent
        raise LabError(
            f"no acquired parent has the digest {digest[:12]}…: restore it with `dvc repro parents`, "
            "or check out the commit whose data/parents it was merged from"
        )

    def sources(self, recipe: Recipe) -> dict[str, Parent]:
        """Digest → parent, base first, for everything the recipe reads."""
        wanted = ([recipe.base] if recipe.base else []) + list(recipe.parents)
        return {digest: self.find(digest) for digest in wanted}

    def plan(self, recipe: Recipe) -> Plan:
        """The plan of a merge here. Raises BadRequest, BadCheckpoint or Unmergeable."""
        folders = {digest: parent.folder for digest, parent in self.sources(recipe).items()}
        return plans.plan(recipe, folders, memory_bytes=self.memory_bytes)


def acquire(folder: Path, identifier: str, role: str) -> Parent:
    """Read an acquired parent's manifest and card; its weights are hashed when a worker reads them."""
    return Parent(identifier, role, folder, manifests.load(folder), read_json(folder / "card.json"))


def environment(constraints: Path) -> Json:
    """What the bytes could depend on besides the recipe: the locked packages, python, torch, safetensors."""
    return {
        "constraints_sha256": sha256_file(constraints),
        "python": ".".join(python_version_tuple()[:2]),
        "torch": version("torch").split("+")[0],
    }


def prepare(planned: Iterable[Plan]) -> None:
    """Compile the kernels that plans need and this machine lacks, with progress: seconds each, once."""
    for plan in planned:
        if ready.missing(plan):
            with narrate("kernel compiled for this machine") as report:
                ready.ensure(plan, partial(_tell, report))


def _tell(report: Report, done: int, total: int) -> None:
    report(done, 0, total)


def build(
    recipe: Recipe, workshop: Workshop, draft: Path, on_progress: Callable[[int, int], None] | None = None
) -> Json:
    """Merge `recipe` into the empty folder `draft` and describe it there; returns the run record (times).

    Writes the weights, what the base carries over, manifest.json and built.json (`described`, notes of
    the arithmetic, what a byte budget read, isolation).
    Raises BadCheckpoint, Unmergeable, NotIsolated or WorkerFailed.
    """
    used = workshop.sources(recipe)
    folders = {digest: parent.folder for digest, parent in used.items()}
    plan, memory = workshop.plan(recipe), workshop.memory
    manifested = {digest: parent.manifest for digest, parent in used.items()}
    carried = _carried_over(plan, list(used.values()))
    writer.preallocate(plan, draft)
    kernels = ready.ensure(plan)
    indexed = indexing.ensure(plan, used, workshop, on_progress)
    looked = memory.look(folders, manifested)
    outcome = launch.run(
        {
            "kind": "merge",
            "recipe": recipe.to_json(),
            "sources": {digest: str(folder.resolve()) for digest, folder in folders.items()},
            "manifests": {digest: _weights(parent.manifest) for digest, parent in used.items()},
            "output": str(draft.resolve()),
            "threads": workshop.threads,
            "memory_bytes": workshop.memory_bytes,
            "kernels": str(kernels) if kernels else None,
            "facts": memory.facts(plan),
            "stamps": looked.stamps,
            "indexes": indexed.trees,
        },
        readable=[folder.resolve() for folder in [*folders.values(), *([kernels] if kernels else [])]],
        writable=[(draft / name).resolve() for name in plan.files],
        isolation=workshop.isolation,
        limits=workshop.limits,
        threads=workshop.threads,
        on_progress=indexing.shifted(on_progress, indexed.bytes, indexed.bytes + indexing.merged_bytes(plan)),
    )
    memory.verified(looked, _read_whole(plan, folders), manifested)
    memory.keep(plan, outcome.result["measured"])
    for name, data in carried.items():
        (draft / name).write_bytes(data)
    built = _manifest(outcome.result["files"], plan, carried)
    write_json(draft / manifests.NAME, built.to_json())
    told = ("notes",) if plan.read_bytes is None else ("notes", "budget")
    found = {key: outcome.result[key] for key in told} | {"isolation": outcome.isolation}
    write_json(draft / BUILT, described(plan, workshop) | found)
    remembered = sorted(f"{digest}/{name}" for digest, names in looked.stamps.items() for name in names)
    run = {**outcome.run, "backend": outcome.result["backend"], "digests_remembered": remembered}
    return run if plan.read_bytes is None else {**run, "indexes_made": list(indexed.made)}


def arithmetic(built: Json) -> dict[str, Json]:
    """What the lineage says of the arithmetic: contract, plan, notes, and what a budget read.

    built: a built.json. alignment: the transformation of the parents before the merge; none is made here.
    """
    found = {key: built[key] for key in ("plan", "notes", "budget") if key in built}
    contract = {**numerics.CONTRACT, "output": built["recipe"]["output_dtype"]}
    return {**found, "contract": contract, "alignment": None}


def described(plan: Plan, workshop: Workshop) -> dict[str, Json]:
    """What is known of a candidate before it is made: recipe, plan without its costs, environment."""
    told = {key: value for key, value in plan.describe().items() if key not in COSTS}
    return {"recipe": plan.recipe.to_json(), "plan": told, "environment": workshop.environment}


def _read_whole(plan: Plan, folders: Mapping[str, Path]) -> dict[str, Path]:
    """The inputs that a merge has verified as whole files: under a budget, the base alone."""
    whole = plan.inputs if plan.read_bytes is None else plan.inputs[:1]
    return {given.digest: folders[given.digest] for given in whole}


def _carried_over(plan: Plan, used: Sequence[Parent]) -> dict[str, bytes]:
    """File → bytes of the configuration and tokenizer of the first of `used`; config.json as it is written.

    Each is checked against its manifest. Raises Unmergeable if no config.json can describe the result.
    """
    found = {name: data for name in CARRIED if (data := _carried(used[0], name)) is not None}
    if configuration.NAME in found:
        by_digest = {parent.digest: parent for parent in used}
        texts = [_carried(by_digest[given.digest], configuration.NAME) for given in plan.inputs]
        parents = [None if text is None else json.loads(text) for text in texts]
        found[configuration.NAME] = configuration.written(found[configuration.NAME], plan, parents)
    return found


def _carried(parent: Parent, name: str) -> bytes | None:
    """The bytes of a small file of a parent; None where its manifest has none."""
    if name not in parent.manifest.files:
        return None
    data = (parent.folder / name).read_bytes()
    if sha256_bytes(data) != parent.manifest.files[name].sha256:
        raise BadCheckpoint(
            "file-altered",
            f"{parent.folder / name} is not what its manifest says. Run `dvc repro --force parents`.",
        )
    return data


def _weights(manifest: Manifest) -> Mapping[str, str]:
    return {name: record.sha256 for name, record in manifest.files.items()}


def _manifest(told: Mapping[str, str], plan: Plan, carried: Mapping[str, bytes]) -> Manifest:
    """The manifest of what was made: weights by the digests that the worker took of the bytes it wrote.

    They are hashed again whenever they are loaded: a worker that told something else made nothing of use.
    Raises LabError for digests of other files than planned, or of another form.
    """
    if told.keys() != plan.files.keys() or not all(map(SHA256.fullmatch, told.values())):
        raise LabError(
            f"the worker told digests of {sorted(told)}: expected {sorted(plan.files)}. Run again."
        )
    records = {name: FileRecord(told[name], size) for name, size in plan.files.items()}
    records |= {name: FileRecord(sha256_bytes(data), len(data)) for name, data in carried.items()}
    return Manifest(dict(sorted(records.items())))
