"""Rules on text: the same bytes must become the same token ids, or embedding rows mean other things."""

from collections.abc import Iterator, Mapping
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.verdict import Finding
from stages.eligibility.facts import TOKENIZER, Facts, Parent, finding, shown

# Keys of tokenizer_config.json that change which ids a text becomes; the others differ by library version.
BEHAVIOUR: Final = (
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "bos_token",
    "clean_up_tokenization_spaces",
    "eos_token",
    "pad_token",
    "unk_token",
)
ABSENT: Final = "absent"
LISTED: Final = 20  # differing tokens kept as evidence
NAMES: Final[Mapping[str, str]] = {"normalizer": "normaliser", "added_tokens": "added tokens"}


def tokenizer(facts: Facts) -> Finding:
    """tokenizer.json is equal byte for byte; where it is not, the part that differs is named."""
    reference = facts.reference
    problems, evidence, details = [], {}, {}
    for parent in facts.family:
        evidence[parent.id] = parent.manifest.files[TOKENIZER].sha256
        if differences := list(_differences(reference, parent)):
            problems.append(f"{parent.id} differs from {reference.id} in {shown(differences)}")
            details[parent.id] = {
                "differs_in": differences,
                "tokens": _tokens(reference.tokenizer, parent.tokenizer),
                "merges": _merges(reference.tokenizer, parent.tokenizer),
            }
    return finding(
        "tokenizer",
        problems,
        fine="every tokenizer.json is equal byte for byte",
        move="Choose parents with one tokenizer; models with different ones can be distilled, not merged.",
        evidence={"sha256": evidence, "differences": details},
    )


def _tokens(one: Mapping[str, Json], other: Mapping[str, Json]) -> list[Json]:
    """The first tokens, by id, whose id differs: [token, id expected, id got], as text."""
    expected, got = dict(_vocabulary_of(one)), dict(_vocabulary_of(other))
    differing = [token for token in expected | got if expected.get(token) != got.get(token)]
    ordered = sorted(differing, key=lambda token: (str(expected.get(token, got.get(token))).zfill(20), token))
    return [
        [token, str(expected.get(token, ABSENT)), str(got.get(token, ABSENT))] for token in ordered[:LISTED]
    ]


def _vocabulary_of(tokenizer: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Every token and its id, the added ones too; of a list of pieces the place is the id."""
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from vocabulary.items()
    elif isinstance(vocabulary, list):
        for place, piece in enumerate(vocabulary):
            if isinstance(piece, list) and piece:
                yield str(piece[0]), place
    added = tokenizer.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict) and isinstance(token.get("content"), str):
            yield token["content"], token.get("id")


def _merges(one: Mapping[str, Json], other: Mapping[str, Json]) -> list[Json]:
    """The first merge that differs: [rank, expected, got], as text; [] where none does."""
    lists = []
    for tokenizer in (one, other):
        model = tokenizer.get("model")
        merges = model.get("merges") if isinstance(model, dict) else None
        lists.append(merges if isinstance(merges, list) else [])
    rank = _first_difference(*lists)
    found = [str(merges[rank])[:80] if rank < len(merges) else ABSENT for merges in lists]
    return [] if lists[0] == lists[1] else [rank, *found]


def _differences(reference: Parent, parent: Parent) -> Iterator[str]:
    named = list(_parts(reference.tokenizer, parent.tokenizer))
    same_bytes = reference.manifest.files[TOKENIZER].sha256 == parent.manifest.files[TOKENIZER].sha256
    yield from named
    if not named and not same_bytes:
        yield f"the writing of {TOKENIZER} alone (same content: copy one over the other)"
    for key in BEHAVIOUR:
        expected, got = reference.tokenizer_config.get(key), parent.tokenizer_config.get(key)
        if expected != got:
            yield f"{key} (expected {expected!r}, got {got!r})"


def _parts(expected: Mapping[str, Json], got: Mapping[str, Json]) -> Iterator[str]:
    for key in sorted(expected.keys() | got.keys()):
        one, other = expected.get(key), got.get(key)
        if one == other:
            continue
        if key == "model" and isinstance(one, dict) and isinstance(other, dict):
            yield from _model(one, other)
        else:
            yield NAMES.get(key, key.replace("_", " "))


def _model(one: Mapping[str, Json], other: Mapping[str, Json]) -> Iterator[str]:
    for key in sorted(one.keys() | other.keys()):
        if one.get(key) == other.get(key):
            continue
        if key == "vocab":
            yield _vocabulary(one.get(key), other.get(key))
        elif key == "merges":
            yield f"merges (from rank {_first_difference(one.get(key), other.get(key))})"
        else:
            yield f"model {key}"


def _vocabulary(one: Json, other: Json) -> str:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return "vocabulary"
    differing = sorted(token for token in one.keys() | other.keys() if one.get(token) != other.get(token))
    examples = [f"{token!r}: {one.get(token)} → {other.get(token)}" for token in differing]
    return f"vocabulary ({len(differing)} tokens: {shown(examples, 3)})"


def _first_difference(one: Json, other: Json) -> int:
    if not isinstance(one, list) or not isinstance(other, list):
        return 0
    pairs = enumerate(zip(one, other, strict=False))
    return next((rank for rank, (left, right) in pairs if left != right), min(len(one), len(other)))
