"""A document of mergekit to a tree of our recipe file; what has no exact counterpart is refused, by key."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.errors import BadRequest, LabError
from stages.core.records.canonical import read_json
from stages.core.records.recipe import plain
from stages.core.records.schema import nearest
from stages.core.weights import registry
from stages.core.weights.plan import FLOATS
from stages.merge.alike import token_ids
from stages.merge.mergekit.rows import REQUIRED, ROWS, Row, apply
from stages.merge.mergekit.settings import Scope, Unreadable, constant, find

Find = Callable[[str], Path | None]

TOP = (
    "merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype",
    "tokenizer_source", "tokenizer", "chat_template",
)  # fmt: skip
MODEL = ("model", "parameters")
SOURCE = ("model", "layer_range", "parameters")
SLICE = ("sources", "parameters", "base_model", "residual_weight")
TOKENIZER = ("source", "tokens", "pad_to_multiple_of")
UNSUPPORTED = {  # read by mergekit, or widely written; what to do instead
    "modules": "merges of several modules are not supported yet",
    "chat_template": "the template is not changed: it comes with the base's tokenizer. Edit it there",
    "residual_weight": "not supported. Leave it out",
    "random_seed": "mergekit ignores it: its seed is an option of the command. Write seed in our own recipe",
    "name": "mergekit ignores it in a single merge. Leave it out: --out names the result",
}
LAYERS = ("num_hidden_layers", "n_layer")


@dataclass(frozen=True)
class Translation:
    """tree: what our recipe file would hold. notes: in which ways mergekit's result may differ."""

    tree: dict[str, Any]
    notes: tuple[str, ...]


@dataclass
class _Model:
    """One model of the document: its name, and its own parameters with their key."""

    where: str
    name: str
    scope: Scope


@dataclass
class _Reading:
    """A document under translation. refusals: every reason so far, each with its key."""

    tree: Mapping[str, Any]
    find: Find
    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, key: str, why: str) -> None:
        self.refusals.append(f"{key}: {why}")

    def known(self, tree: Mapping[str, Any], where: str, keys: Sequence[str]) -> None:
        """Refuse every key of `tree` that is not one of `keys`: mergekit would pass over it in silence."""
        for key in tree:
            place = f"{where}.{key}" if where else str(key)
            if key in UNSUPPORTED and tree[key] is not None:
                self.refuse(place, UNSUPPORTED[key])
            elif key not in keys and key not in UNSUPPORTED:
                why = f"mergekit ignores this key{nearest(str(key), keys)}. Correct it or leave it out"
                self.refuse(place, _elsewhere(str(key), where) or why)

    def scope(self, holder: Mapping[str, Any], where: str) -> Scope:
        """The `parameters` of `holder`; an empty one counts as none."""
        place = f"{where}.parameters" if where else "parameters"
        found = holder.get("parameters")
        if found is not None and not isinstance(found, dict):
            self.refuse(place, f"expected a map, got {str(found)[:80]!r}")
        return Scope(place, found if isinstance(found, dict) else {})


def translate(tree: Mapping[str, Any], find: Find) -> Translation:
    """The same merge as a tree of our recipe file.

    find: the folder of a model's name, or None. Only config.json is read there, for the number of layers.
    Raises BadRequest with every refusal: the key, why, and what to do.
    """
    reading = _Reading(tree, find)
    row = _row(reading)
    reading.known(tree, "", TOP)
    models, between = _models(reading)
    scopes = [*between, reading.scope(tree, "")]
    if row is None:
        raise BadRequest(reading.refusals)
    parents, base = _family(reading, row, models, scopes[-1])
    parameters = _parameters(reading, row, parents, scopes)
    dtype = _dtype(reading)
    _tokenizer(reading, base or (parents[0].name if parents else ""))
    if parents:
        found = registry.problems(row.ours, parameters, len(parents))
        reading.refusals += [why if ":" in why.split()[0] else f"models: {why}" for why in found]
    if reading.refusals:
        raise BadRequest(reading.refusals)
    recipe: dict[str, Any] = {"method": row.ours, "parents": [model.name for model in parents]}
    recipe |= {"base": base} if base else {}
    recipe["parameters"] = {key: plain(value) for key, value in parameters.items()}
    recipe |= {"output_dtype": dtype} if dtype else {}
    return Translation(recipe, (*row.notes, *reading.notes))


def _row(reading: _Reading) -> Row | None:
    name = reading.tree.get("merge_method")
    row = ROWS.get(name) if isinstance(name, str) else None
    if row is None:
        reading.refuse("merge_method", f"{str(name)[:80]!r} is not supported yet{nearest(str(name), ROWS)}")
    return row


def _models(reading: _Reading) -> tuple[list[_Model], list[Scope]]:
    """The models in the order of the document, and the scope between their own and the global one."""
    tree = reading.tree
    if ("models" in tree) == ("slices" in tree):
        reading.refuse("models", "expected exactly one of models and slices")
        return [], []
    if "models" in tree:
        return _listed(reading, tree["models"], "models", MODEL), []
    slices = tree["slices"]
    if not isinstance(slices, list) or len(slices) != 1 or not isinstance(slices[0], dict):
        reading.refuse("slices", "expected one slice; stacking layers of several is not supported yet")
        return [], []
    reading.known(slices[0], "slices[0]", SLICE)
    if slices[0].get("base_model") is not None:
        reading.refuse("slices[0].base_model", "write base_model at the top level")
    models = _listed(reading, slices[0].get("sources"), "slices[0].sources", SOURCE)
    return models, [reading.scope(slices[0], "slices[0]")]


def _listed(reading: _Reading, entries: Any, where: str, keys: Sequence[str]) -> list[_Model]:
    if not isinstance(entries, list) or not entries:
        reading.refuse(where, f"expected a list of models, got {str(entries)[:80]!r}")
        return []
    found: list[_Model] = []
    for number, entry in enumerate(entries):
        place = f"{where}[{number}]"
        if not isinstance(entry, dict):
            reading.refuse(place, f"expected a map with the key model, got {str(entry)[:80]!r}")
            continue
        reading.known(entry, place, keys)
        name = _name(reading, f"{place}.model", entry.get("model"))
        if any(model.name == name for model in found):
            reading.refuse(f"{place}.model", f"{name!r} is listed twice; mergekit keeps one. Remove one")
        found.append(_Model(place, name, reading.scope(entry, place)))
        if keys is SOURCE:
            _whole(reading, f"{place}.layer_range", entry.get("layer_range"), name)
    return found


def _name(reading: _Reading, where: str, written: Any) -> str:
    """The name of a model, once it leads to a folder; what it cannot lead to is refused."""
    if not isinstance(written, str) or not written:
        reading.refuse(where, f"expected a folder or a name as text, got {str(written)[:80]!r}")
        return str(written)
    if reading.find(written) is not None:
        return written
    if "+" in written:
        adapter = written.split("+", 1)[1]
        why = f"the adapter {adapter!r} is not applied here. Merge it into its model first (peft)"
    else:
        why = (
            f"no folder {written!r} here, and nothing is downloaded. Acquire it as a parent, then say where "
            f"it is: --models {written}=FOLDER"
        )
    reading.refuse(where, why)
    return written


def _whole(reading: _Reading, where: str, written: Any, name: str) -> None:
    """Only a range over all layers is the merge of whole models."""
    folder = reading.find(name)
    if folder is None:
        return
    try:
        config = read_json(folder / "config.json")
    except LabError as problem:
        reading.refuse(where, f"cannot tell how many layers there are: {problem}")
        return
    layers = next((config[key] for key in LAYERS if key in config), None)
    if layers is None or written != [0, layers]:
        every = "unknown" if layers is None else str(layers)
        why = f"expected 0 to all layers ({every}), got {written!r}; parts of models are not supported yet"
        reading.refuse(where, why)


def _family(
    reading: _Reading, row: Row, models: list[_Model], shared: Scope
) -> tuple[list[_Model], str | None]:
    """The parents in our order, and the base as our recipe names it."""
    written = reading.tree.get("base_model")
    if written is None:
        if row.base != "donor":
            reading.refuse("base_model", f"missing: {row.ours} needs it")
        else:
            reading.notes.append(
                "config.json and the tokenizer come from the first model; without base_model mergekit takes "
                "them from any of the models"
            )
        return models, None
    base = _name(reading, "base_model", written)
    rest = [model for model in models if model.name != base]
    own = [model for model in models if model.name == base]
    if row.base == "delta":
        if own and own[0].scope.parameters:
            reading.notes.append(f"{own[0].scope.where}: without effect: the base has no task vector")
            _named(reading, row, own[0].scope, list(row.per_model))
        return rest, base
    # mergekit adds a base that is not listed to the models that it merges, at the end
    added = own or [_Model("base_model", base, Scope("base_model", {}))]
    if row.base == "start":
        return [*added, *rest], None
    if not own and find("weight", [shared]) is None:
        why = "mergekit's linear merges it as well. List it under models with a weight, or leave it out"
        reading.refuse("base_model", why)
        return models, base
    return models if own else [*models, *added], base


def _parameters(
    reading: _Reading, row: Row, parents: Sequence[_Model], scopes: list[Scope]
) -> dict[str, Any]:
    for scope in scopes:
        _named(reading, row, scope, [*row.per_model, *row.shared])
    for model in parents:
        _named(reading, row, model.scope, list(row.per_model))
    values: dict[str, Any] = {}
    for name, default in row.shared.items():
        value = _value(reading, name, default, scopes, "parameters")
        values |= {} if value is None else {name: value}
    for name, default in row.per_model.items():
        each = [
            _value(reading, name, default, [model.scope, *scopes], model.scope.where) for model in parents
        ]
        if each and None not in each:
            values[name] = tuple(each)
    found, refusals = apply(row, values)
    for name, why in refusals:
        reading.refuse(_places(name, [model.scope for model in parents], scopes), why)
    return found


def _named(reading: _Reading, row: Row, scope: Scope, names: Sequence[str]) -> None:
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
            why = f"mergekit's {row.ours} makes no use of it{near}. Correct it or leave it out"
        reading.refuse(f"{scope.where}.{key}", why)


def _value(
    reading: _Reading, name: str, default: float | None, scopes: Sequence[Scope], where: str
) -> float | None:
    """The number of a parameter by mergekit's order of scopes; None once it was refused."""
    found = find(name, scopes)
    if found is None:
        if default is REQUIRED:
            reading.refuse(f"{where}.{name}", "missing")
        return default
    place, setting = found
    try:
        return constant(name, setting)
    except Unreadable as why:
        if not any(refusal.startswith(f"{place}: ") for refusal in reading.refusals):
            reading.refuse(place, str(why))
        return None


def _places(name: str, own: Sequence[Scope], scopes: Sequence[Scope]) -> str:
    """Where a parameter was written, for a refusal; its plain name if nowhere (the default is refused)."""
    found = find(name, [*own, *scopes])
    return found[0] if found else f"parameters.{name} (left out)"


def _elsewhere(key: str, where: str) -> str | None:
    """Where a key belongs that mergekit knows, but not here."""
    if any(key in row.per_model or key in row.shared for row in ROWS.values()):
        return f"mergekit ignores it here. Move it under {where + '.' if where else ''}parameters"
    return "mergekit ignores it here. Move it to the top level" if key in TOP else None


def _dtype(reading: _Reading) -> str | None:
    """The type of the output. mergekit's dtype is also that of its arithmetic; ours is always float32."""
    names = {key: reading.tree.get(key) for key in ("dtype", "out_dtype")}
    for key, name in names.items():
        names[key] = name.removeprefix("torch.") if isinstance(name, str) else name
        if name is not None and names[key] not in FLOATS:
            reading.refuse(key, f"expected one of {', '.join(FLOATS)}, got {str(name)[:80]!r}")
    work, stored = names["dtype"], names["out_dtype"]
    if work not in (None, "float32") and stored not in (None, work):
        why = f"{work} asks for arithmetic in {work}, stored as {stored}; ours is float32. Leave dtype out"
        reading.refuse("dtype", why)
    if work != "float32":
        kind = work or "the parents' type"
        reading.notes.append(f"mergekit computes in {kind}; here in float32, rounded once at the end")
    return stored or work


def _tokenizer(reading: _Reading, donor: str) -> None:
    """Only the base's tokenizer can be taken, and embedding rows stay where they are."""
    tree = reading.tree
    if tree.get("tokenizer_source") is not None and tree.get("tokenizer") is not None:
        reading.refuse("tokenizer", "mergekit takes tokenizer or tokenizer_source, not both. Leave one out")
    place, source = "tokenizer_source", tree.get("tokenizer_source")
    if (tokenizer := tree.get("tokenizer")) is not None:
        if not isinstance(tokenizer, dict):
            reading.refuse("tokenizer", f"expected a map, got {str(tokenizer)[:80]!r}")
            return
        reading.known(tokenizer, "tokenizer", TOKENIZER)
        place, source = "tokenizer.source", tokenizer.get("source", "union")
        for key in ("tokens", "pad_to_multiple_of"):
            if tokenizer.get(key):
                why = "embedding rows are merged as they are; none is added or moved. Leave it out"
                reading.refuse(f"tokenizer.{key}", why)
    if source is None:
        return
    if source not in ("base", donor):
        why = f"expected 'base': all models must share one tokenizer, got {str(source)[:80]!r}"
        reading.refuse(place, why)
        return
    _same_rows(reading, place, donor)


def _same_rows(reading: _Reading, place: str, donor: str) -> None:
    """mergekit cuts the embeddings to the tokenizer's tokens: nothing changes where each token has a row."""
    folder = reading.find(donor)
    if folder is None:
        return
    try:
        tokens = len(token_ids(folder) or {})
        rows = read_json(folder / "config.json").get("vocab_size")
    except LabError as problem:
        reading.refuse(place, f"cannot compare the tokenizer with the embeddings: {problem}. Leave it out")
        return
    if tokens != rows:
        why = f"mergekit would cut the embeddings from {rows} rows to {tokens}, which is not supported yet"
        reading.refuse(place, f"{why}. Leave it out: the tokenizer is the base's, and every row is kept")
