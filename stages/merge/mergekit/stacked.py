"""mergekit's passthrough: layers of several models stacked, as a path of layers here.

Tensors before the layers come from the first slice's model, those after them from the last one's.
"""

import re
from collections.abc import Sequence
from glob import escape
from typing import Any

from stages.core.weights.depth import NUMBER
from stages.merge.mergekit.document import Document, Slice
from stages.merge.mergekit.settings import Scope, Unreadable, read
from stages.merge.mergekit.spread import BEFORE

LAYER = re.compile(r"(^|\.)\d+(\.|$)")  # in a filter: the number of a layer


def path(
    document: Document, slices: Sequence[Slice], shared: Scope
) -> tuple[list[str], str | None, dict[str, Any]]:
    """The parents by name, the base, and the parameters `path` and `outside`; refusals for what has none."""
    written = document.tree.get("base_model")
    base = None if written is None else document.name("base_model", written)
    used = [model for part in slices for model in part.models]
    if any(len(part.models) != 1 for part in slices):
        for part in slices:
            if len(part.models) > 1:
                where = part.where if part.where == "models" else f"{part.where}.sources"
                document.refuse(where, "passthrough takes one model; mergekit fails on more")
        return [], base, {}
    if slices[0].where == "models" and base not in (None, used[0].name):
        document.refuse(
            "base_model", "mergekit adds it to the models, and passthrough then fails. Leave it out"
        )
    names = list(dict.fromkeys(model.name for model in used))
    places = [names.index(model.name) + 1 for model in used]
    spans = [
        f"{place}:*" if model.end is None else f"{place}:{model.first}-{model.end}"
        for place, model in zip(places, used, strict=True)
    ]
    _same_filters(document, slices, shared)
    return names, base, {"path": " ".join(spans), "outside": _outside(document, places)}


def _outside(document: Document, places: Sequence[int]) -> Any:
    """The first slice's parent before the layers, the last one's after them."""
    if places[0] == places[-1]:
        return places[0]
    names = document.tensors()
    if names is None:
        document.refuse(
            "slices",
            "tensors before the layers come from the first slice and those after them from the last, and no "
            "tensor names can be read to tell them apart. Acquire the first model with its weights",
        )
        return places[0]
    before = [name for name in names if NUMBER.search(name) is None and any(part in name for part in BEFORE)]
    rules = [{"match": escape(name), "value": places[0]} for name in before]
    return [*rules, {"match": "*", "value": places[-1]}]


def _same_filters(document: Document, slices: Sequence[Slice], shared: Scope) -> None:
    """Refuse filters that name a layer: mergekit means the source's number, and our rules the result's."""
    for part in slices:
        for model in part.models:
            try:
                found = read("scale", [model.scope, *part.scopes, shared], 1.0, model.where)
            except Unreadable:
                continue  # refused with the other settings
            if any(LAYER.search(wanted) for wanted in found.filters):
                why = (
                    "a filter with a layer's number means that of the source, which moves. Use a slice for it"
                )
                document.refuse(found.where, why)
