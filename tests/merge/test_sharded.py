"""Parents in shards go the whole way: acquired, described, judged and merged, to the bytes of the whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from stages.conf import Member
from stages.core.errors import BadCheckpoint
from stages.core.records import manifest as manifests
from stages.core.records.canonical import read_json, write_json
from stages.eligibility.evaluation import evaluation_current
from stages.eligibility.facts import read
from stages.merge import by_hand
from stages.merge.memory import Memory
from stages.merge.recipe_file import Folders, load
from stages.parents.acquire import acquire
from tests.eligibility.family import FILLS, family, weights_of
from tests.parents import tiny

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def acquired(tmp_path: Path) -> Path:
    """data/parents with base, sort and shift, acquired in shards."""
    for name in FILLS:
        tiny.sharded(tiny.write(tmp_path / "sources" / name, weights=weights_of(name)))
    asked = {name: Member(source={"kind": "repository", "path": f"sources/{name}"}) for name in FILLS}
    acquire(asked, tmp_path, tmp_path / "data/parents")
    return tmp_path / "data/parents"


def test_every_shard_and_the_index_are_in_the_manifest(acquired: Path) -> None:
    manifest = manifests.load(acquired / "sort")
    assert {*SHARDS, "model.safetensors.index.json", "config.json", "tokenizer.json"} == manifest.files.keys()
    manifests.check(acquired / "sort", manifest)


def test_the_facts_of_a_sharded_parent_are_those_of_the_whole_but_for_its_files(
    acquired: Path, tmp_path: Path
) -> None:
    whole = family(tmp_path / "whole", {})
    sharded = read(acquired / "sort")
    assert sharded.tensors == whole.parents[0].tensors
    assert sharded.altered == ()
    (acquired / "sort" / SHARDS[1]).write_bytes(weights_of("sort"))
    with pytest.raises(BadCheckpoint, match="index-twice"):
        read(acquired / "sort")


def test_a_card_names_shards_by_one_digest_which_the_refusal_of_another_tells(
    acquired: Path, tmp_path: Path
) -> None:
    facts = family(tmp_path / "whole", {})
    refused = evaluation_current(replace(facts, parents=(read(acquired / "sort"), facts.parents[1])))
    told = manifests.load(acquired / "sort").weights_sha256
    assert "sort: its scores are of the weights" in refused.message
    assert told in refused.message
    tree = read_json(acquired / "sort/card.json")
    tree["evaluation"]["weights_sha256"] = told
    write_json(acquired / "sort/card.json", tree)
    assert evaluation_current(replace(facts, parents=(read(acquired / "sort"), facts.parents[1]))).passed


def test_a_merge_of_shards_is_the_merge_of_the_whole(acquired: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("method: linear\nparents: [sort, shift]\nparameters: {weights: [3, 1]}\n")
    by_hand.merge(
        load(recipe, Folders(acquired, {})),
        tmp_path / "out",
        unreviewed=False,
        memory=Memory(),
        report=lambda done, rejected, total: None,
    )
    merged = load_file(tmp_path / "out/model.safetensors")
    assert merged.keys() == tiny.SHAPES.keys()
    expected = np.float32(1.05) * np.float32(0.75) + np.float32(0.95) * np.float32(0.25)
    for name, tensor in merged.items():
        np.testing.assert_array_equal(tensor, np.full(tiny.SHAPES[name], expected, np.float32))
    material = json.loads((tmp_path / "out/lineage.json").read_text())
    assert SHARDS[0] in json.dumps(material)
