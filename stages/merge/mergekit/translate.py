"""A document of mergekit to a tree of our recipe file; what has no exact counterpart is refused, by key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.core.errors import BadRequest
from stages.core.records.schema import nearest
from stages.core.weights import registry
from stages.merge.mergekit import output, stacked
from stages.merge.mergekit.document import TOP, Document, Find, Model, Slice
from stages.merge.mergekit.rows import NO_BASE, REFUSED, ROWS, Row
from stages.merge.mergekit.settings import Scope, Setting, Unreadable, read
from stages.merge.mergekit.spread import Part, Spread

ANY_DONOR = (
    "config.json and the tokenizer come from the first model; without base_model mergekit takes them from "
    "any of the models"
)


@dataclass(frozen=True)
class Translation:
    """tree: what our recipe file would hold. notes: in which ways mergekit's result may differ."""

    tree: dict[str, Any]
    notes: tuple[str, ...]


def translate(tree: Mapping[str, Any], find: Find) -> Translation:
    """The same merge as a tree of our recipe file.

    find: the folder of a model's name, or None. Only config.json, tokenizer files and headers are read there.
    Raises BadRequest with every refusal: the key, why, and what to do.
    """
    document = Document(tree, find)
    row = _row(document)
    document.known(tree, "", TOP)
    slices = document.slices
    shared = document.scope(tree, "")
    if row is None or not slices:
        raise BadRequest(document.refusals)
    names, base, parameters = _merge(document, row, slices, shared)
    dtype = output.dtype(document)
    donor = base or (names[0] if names else "")
    everyone = list(dict.fromkeys([donor, *names]))
    output.tokenizer(document, donor, everyone)
    output.chat_template(document, donor, everyone)
    if names:
        found = registry.problems(row.ours, parameters, len(names))
        document.refusals += [why if ":" in why.split()[0] else f"models: {why}" for why in found]
    if document.refusals:
        raise BadRequest(document.refusals)
    recipe: dict[str, Any] = {"method": row.ours, "parents": names}
    recipe |= {"base": base} if base else {}
    recipe["parameters"] = parameters
    recipe |= {"output_dtype": dtype} if dtype else {}
    return Translation(recipe, (*row.notes, *document.notes))


def _merge(
    document: Document, row: Row, slices: Sequence[Slice], shared: Scope
) -> tuple[list[str], str | None, dict[str, Any]]:
    """The parents' names in our order, the base as our recipe names it, and our parameters."""
    if row.base == "files":
        names, base, parameters = stacked.path(document, slices, shared)
        if base is None:
            document.notes.append(ANY_DONOR)
        return names, base, parameters | _parameters(document, row, slices if names else [], shared)
    _one_to_one(document, slices)
    members, base = _family(document, row, slices[0].models, shared)
    parameters = _parameters(document, row, _parts(slices, members), shared)
    return [model.name for model in members], base, parameters


def _row(document: Document) -> Row | None:
    name = document.tree.get("merge_method")
    row = ROWS.get(name) if isinstance(name, str) else None
    if row is None:
        why = f"{str(name)[:80]!r} is not supported yet{nearest(str(name), ROWS)}"
        if isinstance(name, str) and name in REFUSED:
            why = f"{name!r} has no exact counterpart: {REFUSED[name]}"
        document.refuse("merge_method", why)
    return row


def _one_to_one(document: Document, slices: Sequence[Slice]) -> None:
    """Slices are parts of one merge of whole models if each layer of every model stays where it is."""
    first = slices[0]
    if first.where == "models":
        return
    reached = 0
    for part in slices:
        if sorted(model.name for model in part.models) != sorted(model.name for model in first.models):
            document.refuse(
                f"{part.where}.sources", "expected the models of the first slice: all merge in every layer"
            )
            continue
        for model in part.models:
            if model.end is not None and model.first != reached:
                why = f"expected layers from {reached} on: only passthrough moves a layer to another place"
                document.refuse(f"{model.where}.layer_range", f"{why}, got [{model.first}, {model.end}]")
        reached = max([reached, *(model.end for model in part.models if model.end is not None)])
    for model in slices[-1].models:
        depth = document.depth(model.name)
        if isinstance(depth, int) and model.end is not None and model.end < depth:
            why = f"expected 0 to all layers ({depth}), got an end of {model.end}"
            document.refuse(f"{model.where}.layer_range", f"{why}; only passthrough leaves layers out")


def _family(
    document: Document, row: Row, models: Sequence[Model], shared: Scope
) -> tuple[list[Model], str | None]:
    """The parents in our order, and the base as our recipe names it."""
    written = document.tree.get("base_model")
    if written is None:
        if row.base not in ("donor", "none"):
            document.refuse("base_model", f"missing: {row.ours} needs it")
        else:
            document.notes.append(ANY_DONOR)
        return list(models), None
    base = document.name("base_model", written)
    rest = [model for model in models if model.name != base]
    own = [model for model in models if model.name == base]
    if row.base == "none":
        document.refuse("base_model", NO_BASE)
        return rest, None
    if row.base == "delta":
        if own and own[0].scope.parameters:
            document.notes.append(f"{own[0].scope.where}: without effect: the base has no task vector")
            _named(document, row, own[0].scope, list(row.per_model))
        return rest, base
    # mergekit adds a base that is not listed to the models that it merges, at the end
    added = own or [Model("base_model", base, Scope("base_model", {}))]
    if row.base == "start":
        return [*added, *rest], None
    if not own and "weight" in row.per_model and "weight" not in shared.parameters:
        why = "mergekit's linear merges it as well. List it under models with a weight, or leave it out"
        document.refuse("base_model", why)
        return list(models), base
    return list(models) if own else [*models, *added], base


def _parts(slices: Sequence[Slice], members: Sequence[Model]) -> list[Slice]:
    """The slices with their models in the order of the parents; a base that was added is in all of them."""
    found = []
    for part in slices:
        by_name = {model.name: model for model in part.models}
        found.append(replace(part, models=tuple(by_name.get(member.name, member) for member in members)))
    return found


def _parameters(document: Document, row: Row, parts: Sequence[Slice], shared: Scope) -> dict[str, Any]:
    """Our parameters; what mergekit's make impossible is refused."""
    for scope in [*(scope for part in parts for scope in part.scopes), shared]:
        _named(document, row, scope, [*row.per_model, *row.shared])
    for part in parts:
        for model in part.models:
            _named(document, row, model.scope, list(row.per_model))
    if not parts:
        return {}  # refused already
    read_parts = [Part(part.layers, _values(document, row, part, shared)) for part in parts]
    spread = Spread(read_parts, list(row.shared), document.tensors)
    found: dict[str, Any] = {}
    for rule in row.rules:
        if not all(name in part.values for part in read_parts for name in rule.reads):
            continue  # refused already
        try:
            answer = spread.apply(rule)
        except Unreadable as why:
            document.refuse(why.where, str(why))
            continue
        if isinstance(answer, str):
            document.refuse(_blamed(read_parts[0].values[rule.reads[0]], rule.reads[0]), answer)
        else:
            found |= answer
    return found


def _values(document: Document, row: Row, part: Slice, shared: Scope) -> dict[str, tuple[Setting, ...]]:
    """mergekit's name → one setting for each parent, or one for all; a name that was refused is missing."""
    found: dict[str, tuple[Setting, ...]] = {}
    scopes = [*part.scopes, shared]
    for name, default in row.shared.items():
        wanted = [(scopes, "parameters")]
        found |= _read(document, name, default, wanted)
    for name, default in row.per_model.items():
        wanted = [([model.scope, *scopes], model.scope.where) for model in part.models]
        found |= _read(document, name, default, wanted) if wanted else {}
    return found


def _read(
    document: Document, name: str, default: float | None, wanted: Sequence[tuple[list[Scope], str]]
) -> dict[str, tuple[Setting, ...]]:
    settings = []
    for scopes, where in wanted:
        try:
            settings.append(read(name, scopes, default, f"{where}.{name}"))
        except Unreadable as why:
            document.refuse(why.where, str(why))
    return {name: tuple(settings)} if len(settings) == len(wanted) else {}


def _named(document: Document, row: Row, scope: Scope, names: Sequence[str]) -> None:
    """Refuse parameters that the method does not read at this place."""
    for key in scope.parameters:
        if key in names:
            continue
        if key in row.shared:
            why = "mergekit reads it for the whole merge only. Write it under parameters, at the top level"
        elif key in TOP:
            why = "mergekit reads it at the top level only. Move it there"
        else:
            near = nearest(str(key), names)
            method = document.tree["merge_method"]
            why = f"mergekit's {method} makes no use of it{near}. Correct it or leave it out"
        document.refuse(f"{scope.where}.{key}", why)


def _blamed(settings: Sequence[Setting], name: str) -> str:
    """Where a parameter was written, for a refusal; its plain name if nowhere (the default is refused)."""
    return settings[0].where if settings else f"parameters.{name} (left out)"
