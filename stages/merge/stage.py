"""The merge stage: proposals to candidates, each made once, in the order proposed."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stages.conf import Request
from stages.core.errors import Unmergeable
from stages.core.progress import Report
from stages.core.records import lineage as lineages
from stages.core.records import manifest as manifests
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.records.files import drafted, sha256_file, write_text
from stages.core.records.lineage import UNCHECKED, Lineage, Material, Proposal
from stages.core.records.recipe import Recipe, plain
from stages.core.records.terms import of_verdict
from stages.core.sandbox import crew, levels
from stages.core.weights.plan import Plan, plan
from stages.core.weights.reader import Checkpoint
from stages.merge import model_card
from stages.merge.build import BUILT, Parent, Workshop, arithmetic, build, described, prepare
from stages.merge.propose import Family, propose, search_record
from stages.merge.space import Space, space
from stages.merge.store import Store, place

INDEX = "index.json"
SCHEMA = "mergelab/candidates/1"


@dataclass(frozen=True)
class Made:
    """One proposal and what came of it: its stored folder, or why there is none."""

    recipe: Recipe
    proposal: Proposal
    folder: Path | None
    refusal: str | None


def run(
    request: Request, workshop: Workshop, verdict: Json, *, store: Store, output: Path, report: Report
) -> None:
    """Write `output` (data/candidates): every candidate with its lineage, and index.json.

    A refused eligibility gives an index without candidates. Raises the first error of a worker, after which
    finished candidates stay in the store.
    """
    made: list[Made] = []
    if verdict["passed"]:
        made = make_all(proposals(request, workshop), workshop, store, request.executor.workers, report)
    refusals = [finding["message"] for finding in verdict["findings"] if not finding["passed"]]
    index = {
        "schema": SCHEMA,
        "refused": "; ".join(refusals) or None,
        "candidates": [_entry(one) for one in made if one.folder],
        "unmergeable": [_entry(one) for one in made if not one.folder],
    }
    with drafted(output) as draft:
        for one in made:
            if one.folder:
                folder = draft / one.recipe.id
                lineage = _lineage(one, one.folder, request, workshop, verdict)
                place(one.folder, folder)
                write_json(folder / lineages.NAME, lineage.to_json())
                write_text(folder / model_card.NAME, model_card.model_card(lineage))
        write_json(draft / INDEX, index)


def spaces(request: Request) -> list[Space]:
    """The space of every requested method, in the request's order."""
    return [space(name, chosen, len(request.parents.merge)) for name, chosen in request.method.items()]


def proposals(request: Request, workshop: Workshop) -> list[tuple[Recipe, Proposal]]:
    """The recipes to make, in search order. The output has the dtype of the base."""
    base, *parents = workshop.family
    family = Family(
        base.digest, tuple(parent.digest for parent in parents), dtype_of(base.folder), request.seed
    )
    return propose(spaces(request), family, request.budget.candidates)


def dtype_of(folder: Path) -> str:
    """The dtype of most tensors of a checkpoint, read off its headers; the first met wins a tie."""
    dtypes = [spec.dtype for spec in Checkpoint(folder).tensors.values()]
    return max(dict.fromkeys(dtypes), key=dtypes.count)


def make_all(
    wanted: Sequence[tuple[Recipe, Proposal]], workshop: Workshop, store: Store, workers: int, report: Report
) -> list[Made]:
    """Make every recipe that the store lacks, `workers` at once; the result keeps the order of `wanted`."""
    level = levels.choose(workshop.isolation)
    make_room(wanted, workshop, store)
    prepare(_first_of_each_method(wanted, workshop))
    done: dict[int, Made] = {}

    def make(recipe: Recipe, proposal: Proposal) -> Made:
        try:
            folder = store.get(recipe, described(workshop.plan(recipe), workshop), level)
            if folder is None:
                with store.draft(recipe) as draft:
                    write_json(draft / "run.json", build(recipe, workshop, draft))
                folder = store.folder / recipe.id
        except Unmergeable as refusal:  # by the plan, or where the arithmetic has no answer
            return Made(recipe, proposal, None, str(refusal))
        return Made(recipe, proposal, folder, None)

    def note(place: int, made: Made) -> None:
        done[place] = made
        report(len(done), sum(one.folder is None for one in done.values()), len(wanted))

    crew.each(wanted, lambda one: make(*one), workers, note)
    return [done[n] for n in sorted(done)]


def make_room(wanted: Sequence[tuple[Recipe, Proposal]], workshop: Workshop, store: Store) -> None:
    """Evict what must give way to the recipes that the store lacks. Raises LabError if they cannot fit."""
    if workshop.quota is None:
        return
    recipes = {recipe.id: recipe for recipe, _ in wanted}
    needed = sum(
        _bytes(recipe, workshop) for name, recipe in recipes.items() if not (store.folder / name).is_dir()
    )
    workshop.quota.make_room(needed, keep=recipes)


def _bytes(recipe: Recipe, workshop: Workshop) -> int:
    """What a merge writes; 0 where there is nothing to write because it is refused."""
    folders = {digest: parent.folder for digest, parent in workshop.sources(recipe).items()}
    try:
        return plan(recipe, folders).bytes_written
    except Unmergeable:
        return 0


def _first_of_each_method(wanted: Sequence[tuple[Recipe, Proposal]], workshop: Workshop) -> Iterator[Plan]:
    """A plan for every method, from its first recipe that has one: they use the same kernels."""
    firsts = {recipe.method: recipe for recipe, _ in reversed(wanted)}
    for recipe in firsts.values():
        folders = {digest: parent.folder for digest, parent in workshop.sources(recipe).items()}
        with suppress(Unmergeable):
            yield plan(recipe, folders)


def signatures(verdict: Json) -> dict[str, Json]:
    """Parent → what eligibility found of its signature; without that rule's evidence, nothing."""
    for finding in verdict["findings"]:
        if finding["rule"] == "signatures":
            return dict(finding["evidence"])
    return {}


def _lineage(one: Made, folder: Path, request: Request, workshop: Workshop, verdict: Json) -> Lineage:
    built = read_json(folder / BUILT)
    used, signed = workshop.sources(one.recipe), signatures(verdict)
    return Lineage(
        recipe=one.recipe,
        artifact=manifests.load(folder),
        materials=[_material(parent, signed.get(parent.id, UNCHECKED)) for parent in used.values()],
        proposal=one.proposal,
        arithmetic=arithmetic(built),
        isolation=built["isolation"],
        environment=built["environment"],
        search=search_record(spaces(request), request.budget.candidates),
        terms=of_verdict(verdict),
    )


def _material(parent: Parent, signature: Json) -> Material:
    return Material(
        id=parent.id,
        role=parent.role,
        digest=parent.digest,
        files={name: record.sha256 for name, record in parent.manifest.files.items()},
        licence=parent.card["licence"]["weights"],
        card_sha256=sha256_file(parent.folder / "card.json"),
        signature=signature,
    )


def _entry(one: Made) -> Json:
    """One row of index.json. Parameters are for reading; the exact ones are in the lineage."""
    parameters = {name: plain(value) for name, value in one.recipe.parameters.items()}
    entry = {
        "id": one.recipe.id,
        "method": one.recipe.method,
        "parameters": parameters,
        "proposal": vars(one.proposal),
    }
    if one.folder is None:
        return entry | {"reason": one.refusal}
    manifest = manifests.load(one.folder)
    return entry | {"artifact": manifest.digest, "bytes": sum(file.bytes for file in manifest.files.values())}
