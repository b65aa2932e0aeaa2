"""A document of mergekit while it is read: its keys, its models and slices, and every refusal so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.core.errors import LabError
from stages.core.records.canonical import read_json
from stages.core.records.schema import nearest
from stages.core.weights.reader import Checkpoint
from stages.merge.mergekit.rows import ROWS
from stages.merge.mergekit.settings import Scope

Find = Callable[[str], Path | None]

TOP = (
    "merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype",
    "tokenizer_source", "tokenizer", "chat_template",
)  # fmt: skip
MODEL = ("model", "parameters")
SOURCE = ("model", "layer_range", "parameters")
SLICE = ("sources", "parameters", "base_model", "merge_method")
UNSUPPORTED = {  # read by mergekit, or widely written; what to do instead
    "modules": "merges of several modules are not supported yet",
    "residual_weight": "mergekit ignores it. Leave it out",
    "random_seed": "mergekit ignores it: its seed is an option of the command. Write seed in our own recipe",
    "name": "mergekit ignores it in a single merge. Leave it out: --out names the result",
}
LAYERS = ("num_hidden_layers", "n_layer")


@dataclass(frozen=True)
class Model:
    """One model of the document: its name, its own parameters with their key, its layers first … end-1.

    end is None where nobody wrote a range and nobody can tell how many layers there are.
    """

    where: str
    name: str
    scope: Scope
    first: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Slice:
    """Consecutive layers of the result. scopes: those between the models' own and the global one."""

    where: str
    models: tuple[Model, ...]
    scopes: tuple[Scope, ...] = ()

    @property
    def layers(self) -> int | None:
        """How many; None where nobody can tell."""
        known = [model.end - model.first for model in self.models if model.end is not None]
        return known[0] if known else None


@dataclass
class Document:
    """A document under translation. refusals: every reason so far, each with its key."""

    tree: Mapping[str, Any]
    find: Find
    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, key: str, why: str) -> None:
        """Add a refusal, once."""
        if f"{key}: {why}" not in self.refusals:
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

    def name(self, where: str, written: Any) -> str:
        """The name of a model, once it leads to a folder; what it cannot lead to is refused."""
        if not isinstance(written, str) or not written:
            self.refuse(where, f"expected a folder or a name as text, got {str(written)[:80]!r}")
            return str(written)
        if self.find(written) is not None:
            return written
        if "+" in written:
            adapter = written.split("+", 1)[1]
            why = f"the adapter {adapter!r} is not applied here. Merge it into its model first (peft)"
        else:
            why = (
                f"no folder {written!r} here, and nothing is downloaded. Acquire it as a parent, then say "
                f"where it is: --models {written}=FOLDER"
            )
        self.refuse(where, why)
        return written

    def depth(self, name: str) -> int | str | None:
        """How many layers a model has by its config.json; why nobody can tell; None for no folder."""
        folder = self.find(name)
        if folder is None:
            return None
        try:
            config = read_json(folder / "config.json")
        except LabError as problem:
            return f"cannot tell how many layers there are: {problem}"
        found = next((config[key] for key in LAYERS if isinstance(config, dict) and key in config), None)
        known = isinstance(found, int) and not isinstance(found, bool)
        return found if known else f"cannot tell how many layers there are: none of {', '.join(LAYERS)}"

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """The slices in the order of the document; `models` are one slice."""
        tree = self.tree
        if ("models" in tree) == ("slices" in tree):
            self.refuse("models", "expected exactly one of models and slices")
            return ()
        if "models" in tree:
            return (Slice("models", self._models(tree["models"], "models", MODEL)),)
        written = tree["slices"]
        if not isinstance(written, list) or not written:
            self.refuse("slices", f"expected a list of slices, got {str(written)[:80]!r}")
            return ()
        return tuple(self._slice(each, f"slices[{number}]") for number, each in enumerate(written))

    def _slice(self, written: Any, where: str) -> Slice:
        if not isinstance(written, dict):
            self.refuse(where, f"expected a map with the key sources, got {str(written)[:80]!r}")
            return Slice(where, ())
        self.known(written, where, SLICE)
        for key in ("base_model", "merge_method"):
            if written.get(key) not in (None, self.tree.get(key)):
                why = "one for all slices is supported. Write it at the top level alone"
                self.refuse(f"{where}.{key}", why)
        models = self._models(written.get("sources"), f"{where}.sources", SOURCE)
        lengths = {model.end - model.first for model in models if model.end is not None}
        if len(lengths) > 1:
            self.refuse(f"{where}.sources", "the ranges differ in length; mergekit fails on it")
        return Slice(where, models, (self.scope(written, where),))

    def _models(self, entries: Any, where: str, keys: Sequence[str]) -> tuple[Model, ...]:
        if not isinstance(entries, list) or not entries:
            self.refuse(where, f"expected a list of models, got {str(entries)[:80]!r}")
            return ()
        found: list[Model] = []
        for number, entry in enumerate(entries):
            place = f"{where}[{number}]"
            if not isinstance(entry, dict):
                self.refuse(place, f"expected a map with the key model, got {str(entry)[:80]!r}")
                continue
            self.known(entry, place, keys)
            name = self.name(f"{place}.model", entry.get("model"))
            if any(model.name == name for model in found):
                self.refuse(f"{place}.model", f"{name!r} is listed twice; mergekit keeps one. Remove one")
            scope = self.scope(entry, place)
            if keys is SOURCE:
                first, end = self._range(f"{place}.layer_range", entry.get("layer_range"), name)
                found.append(Model(place, name, scope, first, end))
            else:
                depth = self.depth(name)
                found.append(Model(place, name, scope, 0, depth if isinstance(depth, int) else None))
        return tuple(found)

    def _range(self, where: str, written: Any, name: str) -> tuple[int, int | None]:
        """The layers of a source, which must be there."""
        depth = self.depth(name)
        if depth is None:
            return 0, None
        whole = isinstance(written, list) and len(written) == 2
        if not whole or not all(isinstance(n, int) and not isinstance(n, bool) for n in written):
            self.refuse(where, f"expected [first, end], got {str(written)[:80]!r}")
            return 0, None
        first, end = written
        if isinstance(depth, str):
            self.refuse(where, depth)
        elif not 0 <= first < end <= depth:
            self.refuse(where, f"expected layers of 0 to {depth}, the end not included, got {written}")
        return first, end

    def tensors(self) -> Sequence[str] | None:
        """The names of the first model's tensors, from its headers; None where they cannot be read."""
        models = [model for part in self.slices for model in part.models]
        folder = self.find(models[0].name) if models else None
        try:
            return None if folder is None else tuple(Checkpoint(folder).tensors)
        except LabError:
            return None


def _elsewhere(key: str, where: str) -> str | None:
    """Where a key belongs that mergekit knows, but not here."""
    if any(key in row.per_model or key in row.shared for row in ROWS.values()):
        return f"mergekit ignores it here. Move it under {where + '.' if where else ''}parameters"
    return "mergekit ignores it here. Move it to the top level" if key in TOP else None
