"""A LoRA adapter becomes a parent whose weights are its base's with the adapter in them, and says so."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.conf import Member, Parents
from stages.core.errors import BadCheckpoint
from stages.core.records import card as cards
from stages.core.records import manifest as manifests
from stages.core.records.files import sha256_file
from stages.core.weights.materialise import materialise
from stages.core.weights.reader import compare
from stages.parents.acquire import acquire
from tests.parents import tiny

REFERENCE = Path(__file__).parents[1] / "reference" / "adapters"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a base and two adapters on it: `plain`, and `other`, the same with another alpha."""
    folder = tmp_path / "sources"
    shutil.copytree(REFERENCE / "plain/base", folder / "base")
    (folder / "base/tokenizer.json").write_text(json.dumps(tiny.TOKENIZER))
    describe(folder / "base")
    for name in ("plain", "other"):
        shutil.copytree(REFERENCE / "plain/adapter", folder / name)
        describe(folder / name)
    configure(folder / "other", lora_alpha=1)
    return tmp_path


def describe(folder: Path, **changes: Any) -> None:
    (folder / "card.json").write_text(json.dumps(tiny.card(folder.name, b"", **changes)))


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def member(name: str, **source: Any) -> Member:
    where = {"kind": "repository", "path": f"sources/{name}", **source}
    return Member(source=where, adapter_on=None if name == "base" else "base")


def get(root: Path, *names: str) -> dict[str, manifests.Manifest]:
    return acquire({name: member(name) for name in ("base", *names)}, root, root / "data/parents")


def test_the_parent_is_the_base_with_the_adapter_merged_into_its_weights(root: Path, tmp_path: Path) -> None:
    manifest = get(root, "plain")["plain"]
    parent = root / "data/parents/plain"
    manifests.check(parent, manifest)
    (tmp_path / "weights").mkdir()
    materialise(root / "sources/base", root / "sources/plain", tmp_path / "weights")
    assert compare(parent, tmp_path / "weights") == []
    assert {path.name for path in parent.iterdir()} == {
        "model.safetensors", "config.json", "tokenizer.json", "card.json", "manifest.json",
    }  # fmt: skip


def test_manifest_and_card_name_the_adapter_and_its_base_by_digest(root: Path) -> None:
    acquired = get(root, "plain")
    origin = manifests.load(root / "data/parents/plain").adapter
    assert origin is not None
    assert origin == acquired["plain"].adapter
    assert origin.base == acquired["base"].digest
    assert origin.files == {
        name: sha256_file(root / "sources/plain" / name)
        for name in ("adapter_config.json", "adapter_model.safetensors")
    }
    card = cards.load(root / "data/parents/plain/card.json")
    assert card.adapter == cards.Adapter(digest=origin.digest, base=origin.base)
    assert acquired["base"].adapter is None


def test_the_adapters_own_signature_comes_along_and_the_bases_does_not(root: Path) -> None:
    (root / "sources/base/model.sig").write_bytes(b"the base's")
    unsigned = get(root, "plain")["plain"]
    assert not (root / "data/parents/plain/model.sig").exists()
    (root / "sources/plain/model.sig").write_bytes(b"the adapter's")
    assert get(root, "plain")["plain"] == unsigned
    assert (root / "data/parents/plain/model.sig").read_bytes() == b"the adapter's"
    assert (root / "data/parents/base/model.sig").read_bytes() == b"the base's"


def test_an_adapter_becomes_a_parent_on_a_base_in_shards(root: Path) -> None:
    whole = root / "whole"
    get(root, "plain")
    shutil.copytree(root / "data/parents/plain", whole)
    tiny.sharded(root / "sources/base")
    manifest = get(root, "plain")["plain"]
    assert list(manifest.weights) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    assert compare(root / "data/parents/plain", whole) == []


def test_an_origin_that_was_edited_contradicts_its_own_digest(root: Path) -> None:
    get(root, "plain")
    path = root / "data/parents/plain/manifest.json"
    tree = json.loads(path.read_text())
    tree["adapter"]["files"]["adapter_config.json"] = "0" * 64
    path.write_text(json.dumps(tree))
    with pytest.raises(BadCheckpoint, match="manifest-digest"):
        manifests.load(path.parent)


def test_two_adapters_on_one_base_name_the_same_base_and_are_two_parents(root: Path) -> None:
    acquired = get(root, "plain", "other")
    plain, other = (acquired[name].adapter for name in ("plain", "other"))
    assert plain is not None
    assert other is not None
    assert plain.base == other.base
    assert plain.digest != other.digest
    assert acquired["plain"].digest != acquired["other"].digest


def test_a_digest_in_the_request_is_the_adapters_own(root: Path) -> None:
    origin = get(root, "plain")["plain"].adapter
    assert origin is not None
    asked = {"base": member("base"), "plain": member("plain", digest=origin.digest)}
    acquire(asked, root, root / "data/parents")
    configure(root / "sources/plain", lora_alpha=6)
    with pytest.raises(BadCheckpoint, match="is not the artifact asked for") as caught:
        acquire(asked, root, root / "data/parents")
    assert caught.value.code == "source-digest"


def test_no_file_of_the_parent_is_shared_with_its_base(root: Path) -> None:
    get(root, "plain")
    for path in (root / "data/parents/plain").iterdir():
        assert path.stat().st_nlink == 1


def test_an_adapter_that_is_asked_for_as_a_model_is_told_the_key(root: Path) -> None:
    asked = {"plain": Member(source={"kind": "repository", "path": "sources/plain"})}
    with pytest.raises(BadCheckpoint, match=r"Write adapter_on: \(the base\) in the request") as caught:
        acquire(asked, root, root / "data/parents")
    assert caught.value.code == "adapter"


@pytest.mark.parametrize("name", ["adapter_model.bin", "model.safetensors", "train.py"])
def test_an_adapters_folder_holds_nothing_else(root: Path, name: str) -> None:
    (root / "sources/plain" / name).write_bytes(b"")
    with pytest.raises(BadCheckpoint, match=f"plain/{name}"):
        get(root, "plain")


def test_the_bases_own_tokenizer_may_lie_beside_the_adapter_and_no_other(root: Path) -> None:
    path = root / "sources/plain/tokenizer.json"
    path.write_text(json.dumps(tiny.TOKENIZER))
    get(root, "plain")
    path.write_text(json.dumps(tiny.TOKENIZER | {"version": "2.0"}))
    with pytest.raises(BadCheckpoint, match=r"plain: tokenizer\.json is not the base's") as caught:
        get(root, "plain")
    assert caught.value.code == "adapter-tokenizer"


def test_what_the_adapter_means_is_judged_before_anything_is_published(root: Path) -> None:
    configure(root / "sources/plain", use_dora=True)
    with pytest.raises(BadCheckpoint, match=r"plain: .*use_dora") as caught:
        get(root, "plain")
    assert caught.value.code == "adapter-config"
    assert list((root / "data/parents").iterdir()) == []


def test_a_refused_base_refuses_its_adapters(root: Path) -> None:
    (root / "sources/base/config.json").write_text('{"auto_map": {}}')
    with pytest.raises(BadCheckpoint, match=r"(?s)auto_map.*plain: its base base was refused"):
        get(root, "plain")


def test_a_card_that_states_another_origin_is_refused(root: Path) -> None:
    describe(root / "sources/plain", adapter={"digest": "0" * 64, "base": "0" * 64})
    with pytest.raises(BadCheckpoint, match="adapter is") as caught:
        get(root, "plain")
    assert caught.value.code == "card-adapter"


@pytest.mark.parametrize(("name", "on"), [("plain", "other"), ("base", "base")])
def test_an_adapter_lies_on_the_base_of_the_family(name: str, on: str) -> None:
    tree: dict[str, Any] = {
        one: {"source": {"kind": "path", "path": f"/{one}"}} for one in ("base", "plain", "other")
    }
    tree[name]["adapter_on"] = on
    with pytest.raises(ValueError, match=f"members.{name}.adapter_on: expected the base"):
        Parents(base="base", merge=("plain", "other"), members=tree, complementarity="")
