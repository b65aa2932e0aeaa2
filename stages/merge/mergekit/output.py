"""What the result is stored as: the type of its numbers, its tokenizer, its chat template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core.errors import LabError
from stages.core.records.canonical import read_json
from stages.core.weights.fitting import FLOATS
from stages.merge.alike import token_ids
from stages.merge.mergekit.document import Document

TOKENIZER = ("source", "tokens", "pad_to_multiple_of")


def dtype(document: Document) -> str | None:
    """The type of the output. mergekit's dtype is also that of its arithmetic; ours is always float32."""
    names = {key: document.tree.get(key) for key in ("dtype", "out_dtype")}
    for key, name in names.items():
        names[key] = name.removeprefix("torch.") if isinstance(name, str) else name
        if name is not None and names[key] not in FLOATS:
            document.refuse(key, f"expected one of {', '.join(FLOATS)}, got {str(name)[:80]!r}")
    work, stored = names["dtype"], names["out_dtype"]
    if work not in (None, "float32") and stored not in (None, work):
        why = f"{work} asks for arithmetic in {work}, stored as {stored}; ours is float32. Leave dtype out"
        document.refuse("dtype", why)
    if work != "float32":
        kind = work or "the parents' type"
        document.notes.append(f"mergekit computes in {kind}; here in float32, rounded once at the end")
    return stored or work


def tokenizer(document: Document, donor: str, models: Sequence[str]) -> None:
    """Only the base's tokenizer can be taken, and embedding rows stay where they are."""
    tree = document.tree
    if tree.get("tokenizer_source") is not None and tree.get("tokenizer") is not None:
        document.refuse("tokenizer", "mergekit takes tokenizer or tokenizer_source, not both. Leave one out")
    place, source = "tokenizer_source", tree.get("tokenizer_source")
    if (written := tree.get("tokenizer")) is not None:
        if not isinstance(written, dict):
            document.refuse("tokenizer", f"expected a map, got {str(written)[:80]!r}")
            return
        document.known(written, "tokenizer", TOKENIZER)
        place, source = "tokenizer.source", written.get("source", "union")
        for key in ("tokens", "pad_to_multiple_of"):
            if written.get(key):
                why = "embedding rows are merged as they are; none is added or moved. Leave it out"
                document.refuse(f"tokenizer.{key}", why)
    if source is None:
        return
    folders = [folder for name in models if (folder := document.find(name)) is not None]
    if source == "union" and not _one_vocabulary(folders):
        document.refuse(place, "the models' tokenizers differ, and rows are merged as they are. Write base")
    elif source not in ("base", "union", donor):
        why = f"expected 'base': all models must share one tokenizer, got {str(source)[:80]!r}"
        document.refuse(place, why)
    else:
        _same_rows(document, place, donor)


def chat_template(document: Document, donor: str, models: Sequence[str]) -> None:
    """`auto` changes nothing where all models have the donor's template; anything else is refused."""
    wanted = document.tree.get("chat_template")
    if wanted is None:
        return
    folders = [folder for name in (donor, *models) if (folder := document.find(name)) is not None]
    try:
        one = wanted == "auto" and len({_template(folder) for folder in folders}) == 1
    except LabError:
        one = False
    if not one:
        document.refuse(
            "chat_template",
            "the template is not changed: it comes with the base's tokenizer. Edit it there"
            + (" (auto is taken where all models have the same)" if wanted == "auto" else ""),
        )


def _one_vocabulary(folders: Sequence[Path]) -> bool:
    try:
        vocabularies = [token_ids(folder) for folder in folders]
    except LabError:
        return False
    return bool(vocabularies) and all(each is not None and each == vocabularies[0] for each in vocabularies)


def _template(folder: Path) -> str | None:
    """The chat template of a model, from its own file or its tokenizer_config.json."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8").strip()
    path = folder / "tokenizer_config.json"
    found: Any = read_json(path).get("chat_template") if path.is_file() else None
    return found.strip() if isinstance(found, str) else repr(found)


def _same_rows(document: Document, place: str, donor: str) -> None:
    """mergekit cuts the embeddings to the tokenizer's tokens: nothing changes where each token has a row."""
    folder = document.find(donor)
    if folder is None:
        return
    try:
        tokens = len(token_ids(folder) or {})
        rows = read_json(folder / "config.json").get("vocab_size")
    except LabError as problem:
        document.refuse(place, f"cannot compare the tokenizer with the embeddings: {problem}. Leave it out")
        return
    if tokens != rows:
        why = f"mergekit would cut the embeddings from {rows} rows to {tokens}, which is not supported yet"
        document.refuse(place, f"{why}. Leave it out: the tokenizer is the base's, and every row is kept")
