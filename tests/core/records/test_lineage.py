from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import dumps, pretty, read_json, write_json
from stages.core.records.files import sha256_bytes
from stages.core.records.lineage import Lineage, Material, Proposal, load
from stages.core.records.manifest import FileRecord, Manifest
from tests.architecture.tree import ROOT
from tests.core.records.test_recipe import RECIPE as TIES


def material(name: str, role: str = "parent", weights: str = "3") -> Material:
    """A material whose digest follows from its files, as that of a manifest does."""
    files = {"config.json": "5" * 64, "model.safetensors": weights * 64}
    return Material(name, role, sha256_bytes(dumps(files)), files, "Apache-2.0", "4" * 64)


MATERIALS = [material("base", "base", "6"), material("left"), material("right", weights="7")]
RECIPE = replace(TIES, base=MATERIALS[0].digest, parents=(MATERIALS[1].digest, MATERIALS[2].digest))
COMMITTED = sorted((ROOT / "data/candidates").glob("*/lineage.json"))
LINEAGE = Lineage(
    recipe=RECIPE,
    artifact=Manifest(
        {"model.safetensors": FileRecord("1" * 64, 10), "config.json": FileRecord("2" * 64, 2)}
    ),
    materials=MATERIALS,
    proposal=Proposal("anchor", 0, "ties, stated values"),
    arithmetic={"plan": {}},
    isolation={"level": "L2"},
    environment={"python": "3.11"},
    search={"name": "anchors"},
)

TERMS: dict[str, Any] = {
    "licence": {
        "expression": "LicenseRef-llama-3.1 AND MIT",
        "permissions": {"use": "yes", "modify": "yes", "share": "yes", "commercial": "no", "serve": "yes"},
        "obligations": ["keep the notices"],
        "share_alike": [],
        "reviewed": False,
        "families": [],
        "user_cap": 700,
        "naming": {"begins": ["Llama"], "displays": ["Built with Llama"]},
        "use_policies": ["https://example.org/rules"],
        "excluded_regions": [],
    },
    "restrictions": {
        "noncommercial": True,
        "no_release": False,
        "pii": "none",
        "regions": ["EU"],
        "purposes": None,
        "consent_expires": "2027-01-01",
        "withdrawals": [],
        "contaminated": ["copy"],
        "synthetic_from": [],
        "unknown": [],
        "waived": ["pii"],
    },
    "decisions": {
        "research": {"allowed": True, "because": []},
        "publish-noncommercial": {"allowed": False, "because": ["waived for research alone"]},
        "publish": {"allowed": False, "because": ["commercial is not permitted"]},
        "serve": {"allowed": False, "because": ["commercial is not permitted"]},
    },
    "contaminated": ["copy"],
    "waivers": [
        {"parent": "left", "rule": "pii", "why": "none in it", "by": "A. Reader", "until": "2026-06-01"}
    ],
    "hub": None,
    "use": {
        "intent": "research",
        "as_of": "2026-01-01",
        "regions": ["DE"],
        "monthly_users": 3,
        "release_name": None,
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_json(tmp_path / "lineage.json", LINEAGE.to_json())
    return tmp_path / "lineage.json"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_every_committed_lineage_is_a_statement_and_provenance_by_the_standards_own_types(path: Path) -> None:
    tree = read_json(path)
    statement = ParseDict(tree, statement_pb2.Statement())
    provenance = ParseDict(tree["predicate"], provenance_pb2.Provenance())
    assert {one.name: one.digest["sha256"] for one in statement.subject} == load(path).files
    digests = [one.digest["sha256"] for one in provenance.build_definition.resolved_dependencies]
    assert set(load(path).recipe.parents) <= set(digests)


def test_each_material_states_role_licence_files_card_and_what_was_found_of_its_signature() -> None:
    for one in LINEAGE.to_json()["predicate"]["buildDefinition"]["resolvedDependencies"]:
        assert one["annotations"].keys() == {"role", "licence", "files", "card_sha256", "signature"}
        assert one["annotations"]["signature"] == {"status": "unchecked"}


def test_it_is_an_in_toto_statement_by_in_totos_own_types() -> None:
    statement = ParseDict(LINEAGE.to_json(), statement_pb2.Statement())
    assert [subject.name for subject in statement.subject] == ["config.json", "model.safetensors"]
    assert statement.predicate_type == "https://slsa.dev/provenance/v1"


def test_its_predicate_is_slsa_provenance_by_slsas_own_types() -> None:
    provenance = ParseDict(LINEAGE.to_json()["predicate"], provenance_pb2.Provenance())
    assert provenance.build_definition.resolved_dependencies[1].digest["sha256"] == MATERIALS[1].digest


def test_the_terms_are_said_beside_the_recipe_and_change_no_id(path: Path) -> None:
    tree = replace(LINEAGE, terms=TERMS).to_json()
    ParseDict(tree["predicate"], provenance_pb2.Provenance())
    named = {one["name"]: one["annotations"] for one in tree["predicate"]["runDetails"]["byproducts"]}
    assert named["terms"] == TERMS
    before = LINEAGE.to_json()
    assert [one["name"] for one in before["predicate"]["runDetails"]["byproducts"]] == ["environment"]
    assert tree["predicate"]["buildDefinition"] == before["predicate"]["buildDefinition"]
    write_json(path, tree)
    assert load(path).recipe.id == RECIPE.id


def test_the_recipe_and_the_files_read_back(path: Path) -> None:
    recorded = load(path)
    assert recorded.recipe == RECIPE
    assert recorded.files == {"model.safetensors": "1" * 64, "config.json": "2" * 64}
    assert recorded.proposal == LINEAGE.proposal


def test_the_same_facts_give_the_same_bytes() -> None:
    assert pretty(LINEAGE.to_json()) == pretty(LINEAGE.to_json())


@pytest.mark.parametrize(
    "edit", [("0x1.999999999999ap-3", "0x1.999999999999bp-3"), ('"seed": 7', '"seed": 8')]
)
def test_an_edited_recipe_no_longer_gives_the_stated_id(path: Path, edit: tuple[str, str]) -> None:
    assert edit[0] in path.read_text()
    path.write_text(path.read_text().replace(*edit))
    with pytest.raises(BadCheckpoint, match="lineage-id"):
        load(path)


def test_a_statement_of_another_kind_is_refused(path: Path) -> None:
    tree = read_json(path)
    write_json(path, tree | {"predicateType": "https://example.org/other"})
    with pytest.raises(BadCheckpoint, match="lineage-schema"):
        load(path)
