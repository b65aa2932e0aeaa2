"""A lineage with one thing changed: what its signature refuses (everything), and what it refuses unsigned."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import BadCheckpoint, BadSignature, LabError
from stages.core.records import dsse
from stages.core.records.canonical import read_json, write_json
from stages.core.records.lineage import load
from tests.architecture.tree import ROOT
from tests.core.records.signatories import new_key
from tests.core.records.test_lineage import LINEAGE

COMMITTED = sorted((ROOT / "data/candidates").glob("*/lineage.json"))
KEY = new_key()
ANNOTATIONS = ("predicate", "buildDefinition", "resolvedDependencies")
# What `load` alone does not refuse, as its docstring says: left to the bytes merged again (`mergelab verify`)
# and, for the last six, to a signature.
BYTES = [("subject",), ("predicate", "buildDefinition", "internalParameters", "arithmetic")]
SIGNATURE = [
    ("predicate", "buildDefinition", "internalParameters", "isolation"),
    ("predicate", "buildDefinition", "externalParameters", "proposal"),
    ("predicate", "buildDefinition", "externalParameters", "search"),
    ("predicate", "runDetails", "byproducts"),
]
OF_MATERIALS = ("name", "licence", "card_sha256", "signature")

Path_ = tuple[str | int, ...]


def leaves(tree: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The place of every value that is no object and no list; of empty ones too."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    if not entries or not tree:
        yield path
        return
    for key, value in entries:
        yield from leaves(value, (*path, key))


def changed(tree: Any, path: Path_) -> Any:
    """A copy with the value at `path` replaced by another of its kind, as small a change as there is."""
    found = copy.deepcopy(tree)
    node = found
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = other(node[path[-1]])
    return found


def other(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, str):
        last = "1" if value.endswith("0") else "0"
        return value[:-1] + last if value else "x"
    if isinstance(value, dict | list):
        return {"x": 1} if isinstance(value, dict) else [1]
    return value + 1


def left_open(path: Path_) -> bool:
    """Whether the table of lineage.py leaves the leaf to the bytes or to a signature."""
    if path[: len(ANNOTATIONS)] == ANNOTATIONS:
        return path[4] in OF_MATERIALS or (path[4] == "annotations" and path[5] in OF_MATERIALS)
    return any(path[: len(prefix)] == prefix for prefix in (*BYTES, *SIGNATURE))


def statements() -> list[Any]:
    """One made by hand; and of the committed ones one of each method."""
    committed = {
        read_json(path)["predicate"]["buildDefinition"]["externalParameters"]["recipe"]["method"][
            "name"
        ]: path
        for path in COMMITTED
    }
    return [LINEAGE.to_json(), *(read_json(path) for path in committed.values())]


@pytest.mark.parametrize("number", range(3))
def test_no_leaf_of_a_signed_statement_can_be_changed(number: int) -> None:
    statement = statements()[number]
    envelope = dsse.sign(statement, KEY).encode()
    assert dsse.verify(envelope, statement, [KEY.public], 1) == (KEY.public,)
    paths = list(leaves(statement))
    assert len(paths) > 30
    for path in paths:
        forged = changed(statement, path)
        with pytest.raises(BadSignature, match=r"^\[signature-payload\]"):
            dsse.verify(envelope, forged, [KEY.public], 1)


@pytest.mark.parametrize("number", range(3))
def test_without_a_signature_every_leaf_is_refused_but_those_left_to_bytes_or_signature(
    number: int, tmp_path: Path
) -> None:
    statement = statements()[number]
    path = tmp_path / "lineage.json"
    accepted = []
    for leaf in leaves(statement):
        write_json(path, changed(statement, leaf))
        try:
            load(path)
            accepted.append(leaf)
        except LabError:
            assert not left_open(leaf) or leaf[0] == "subject" or leaf[-1] in ("name", "origin"), leaf
    assert [leaf for leaf in accepted if not left_open(leaf)] == []


def materials(tree: Any) -> list[Any]:
    found = tree["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert isinstance(found, list)
    return found


def _drop(tree: Any) -> None:
    materials(tree).pop()


def _swap(tree: Any) -> None:
    found = materials(tree)
    found[1], found[2] = found[2], found[1]


def _swap_and_recipe(tree: Any) -> None:
    _swap(tree)
    tree["predicate"]["buildDefinition"]["externalParameters"]["recipe"]["parents"].reverse()


def _twice(tree: Any) -> None:
    materials(tree).append(materials(tree)[-1])


def _stranger(tree: Any) -> None:
    materials(tree)[1] = materials(tree)[1] | {"digest": {"sha256": "0" * 64}}


def _swap_roles(tree: Any) -> None:
    first, second = materials(tree)[:2]
    first["annotations"]["role"], second["annotations"]["role"] = "parent", "base"


def _swap_files(tree: Any) -> None:
    one, two = (material["annotations"] for material in materials(tree)[1:])
    one["files"], two["files"] = two["files"], one["files"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_drop, "lineage-materials"),
        (_swap, "lineage-materials"),
        (_swap_and_recipe, "lineage-id"),
        (_twice, "lineage-materials"),
        (_stranger, "lineage-materials"),
        (_swap_roles, "lineage-materials"),
        (_swap_files, "lineage-materials"),
    ],
)
def test_parents_are_not_dropped_swapped_or_replaced(change: Any, code: str, tmp_path: Path) -> None:
    tree = copy.deepcopy(LINEAGE.to_json())
    change(tree)
    write_json(tmp_path / "lineage.json", tree)
    with pytest.raises(BadCheckpoint, match=rf"^\[{code}\]"):
        load(tmp_path / "lineage.json")


def _subjects(tree: Any, *names: str) -> None:
    tree["subject"] = [{"name": name, "digest": {"sha256": "1" * 64}} for name in names]


@pytest.mark.parametrize(
    "names",
    [(), ("b", "a"), ("a", "a"), ("../a",), ("/etc/passwd",), (".hidden",), ("a/b",), ("",)],
)
def test_the_files_of_a_lineage_are_plain_names_in_order_each_once(names: Any, tmp_path: Path) -> None:
    tree = copy.deepcopy(LINEAGE.to_json())
    _subjects(tree, *names)
    write_json(tmp_path / "lineage.json", tree)
    with pytest.raises(BadCheckpoint, match=r"^\[lineage-subject\]"):
        load(tmp_path / "lineage.json")


def test_further_sections_are_refused_wherever_they_stand(tmp_path: Path) -> None:
    good = LINEAGE.to_json()
    for keys in (
        (),
        ("predicate",),
        ("predicate", "buildDefinition"),
        ("predicate", "buildDefinition", "externalParameters"),
        ("predicate", "buildDefinition", "externalParameters", "recipe"),
        ("predicate", "buildDefinition", "internalParameters"),
        ("predicate", "runDetails"),
        ("predicate", "runDetails", "metadata"),
    ):
        tree = copy.deepcopy(good)
        node = tree
        for key in keys:
            node = node[key]
        node["unheard"] = 1
        write_json(tmp_path / "lineage.json", tree)
        with pytest.raises(BadCheckpoint, match=r"^\[lineage-(schema|id)\]"):
            load(tmp_path / "lineage.json")


def test_a_repeated_key_is_refused_before_either_value_is_believed(tmp_path: Path) -> None:
    text = json.dumps(LINEAGE.to_json())
    (tmp_path / "lineage.json").write_text('{"subject": [], ' + text[1:])
    with pytest.raises(LabError, match="the key 'subject' occurs twice"):
        load(tmp_path / "lineage.json")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_every_committed_lineage_is_in_order(path: Path) -> None:
    assert load(path).recipe.id == path.parent.name
