"""Who signed a lineage, and what nobody can change in it; a candidate rebuilt from its lineage, anywhere."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from stages import signing
from stages.cli import app
from stages.core.errors import BadSignature, LabError
from stages.core.records.canonical import read_json, write_json
from stages.merge import elsewhere
from tests.core.records.signatories import new_key, write_private, write_public

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "data/candidates/11452c1d8a69/lineage.json"
STATEMENT = read_json(SHIPPED)
KEY = new_key()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> signing.Place:
    """The shipped lineage, signed by KEY."""
    folder = tmp_path_factory.mktemp("signed")
    shutil.copy2(SHIPPED, folder / SHIPPED.name)
    where = signing.of_folder(folder)
    signing.sign(where, KEY)
    return where


def test_a_lineage_that_nobody_touched_verifies(signed: signing.Place) -> None:
    assert signing.check(signed, [KEY.public], 1) == (KEY.public,)


def test_a_lineage_and_parents_under_any_names_give_the_recorded_bytes_again(tmp_path: Path) -> None:
    shutil.copy2(SHIPPED, tmp_path / SHIPPED.name)
    for number, name in enumerate(("pico-b", "pico-base", "pico-a")):
        shutil.copytree(ROOT / "data/sources" / name, tmp_path / "models" / str(number) / "weights")
    found = elsewhere.rebuilt(tmp_path / SHIPPED.name, [tmp_path / "models"], tmp_path / "out")
    assert not found.differing
    assert read_json(tmp_path / "out/lineage.json") == STATEMENT
    assert {one["name"] for one in STATEMENT["subject"]} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_a_parent_that_is_not_there_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    shutil.copy2(SHIPPED, tmp_path / SHIPPED.name)
    shutil.copytree(ROOT / "data/sources/pico-a", tmp_path / "models/a")
    with pytest.raises(LabError, match=r"no folder holds 'pico-(base|b)'.*name its place with --parents"):
        elsewhere.rebuilt(tmp_path / SHIPPED.name, [tmp_path / "models"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert json.loads(SHIPPED.read_text()) == STATEMENT


def sign(folder: Path, key: str, *more: str) -> Result:
    return CliRunner().invoke(app, ["sign", str(folder), "--key", key, *more])


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """A folder with the shipped lineage alone: its weights were evicted, which hinders no signature."""
    (tmp_path / "merged").mkdir()
    shutil.copy2(SHIPPED, tmp_path / "merged" / SHIPPED.name)
    return tmp_path / "merged"


def test_two_people_sign_and_a_threshold_of_two_is_met_by_both_alone(merged: Path, tmp_path: Path) -> None:
    first, second = new_key(), new_key("p256")
    where = signing.of_folder(merged)
    assert sign(merged, str(write_private(tmp_path / "a.pem", first))).exit_code == 0
    with pytest.raises(BadSignature, match=r"^\[signature-untrusted\] expected 2 signatures"):
        signing.check(where, [first.public, second.public], 2)
    assert sign(merged, str(write_private(tmp_path / "b.pem", second))).exit_code == 0
    assert signing.check(where, [first.public, second.public], 2) == (first.public, second.public)


def test_an_encrypted_key_opens_with_its_file_and_without_a_terminal_says_so(
    merged: Path, tmp_path: Path
) -> None:
    path = str(write_private(tmp_path / "key.pem", KEY, b"correct horse"))
    refused = sign(merged, path)
    assert refused.exit_code == 1
    assert "--passphrase-file" in refused.stderr
    assert not signing.of_folder(merged).envelope.exists()
    (tmp_path / "phrase").write_text("correct horse\n")
    assert sign(merged, path, "--passphrase-file", str(tmp_path / "phrase")).exit_code == 0
    assert signing.check(signing.of_folder(merged), [KEY.public], 1) == (KEY.public,)


def test_the_command_asks_for_the_signature_before_it_merges_anything(merged: Path, tmp_path: Path) -> None:
    public = str(write_public(tmp_path / "key.pub", KEY))
    lineage = ["--lineage", str(merged / SHIPPED.name), "--parents", str(ROOT / "data/sources")]
    asked = [*lineage, "--signature", "--key", public]
    absent = CliRunner().invoke(app, ["verify", *asked])
    assert (absent.exit_code, "[signature-absent]" in absent.stderr) == (1, True)
    assert sign(merged, str(write_private(tmp_path / "key.pem", KEY))).exit_code == 0
    found = CliRunner().invoke(app, ["verify", *asked])
    assert (found.exit_code, found.stdout) == (0, "11452c1d8a69  MATCH\n")


def test_a_trusted_signature_on_a_lineage_of_other_bytes_does_not_make_them_right(
    merged: Path, tmp_path: Path
) -> None:
    tree = copy.deepcopy(STATEMENT)
    weights = next(one for one in tree["subject"] if one["name"] == "model.safetensors")
    weights["digest"]["sha256"] = "0" * 64
    write_json(merged / SHIPPED.name, tree)
    assert sign(merged, str(write_private(tmp_path / "key.pem", KEY))).exit_code == 0
    lineage = ["--lineage", str(merged / SHIPPED.name), "--parents", str(ROOT / "data/sources")]
    public = str(write_public(tmp_path / "key.pub", KEY))
    found = CliRunner().invoke(app, ["verify", *lineage, "--signature", "--key", public])
    assert found.exit_code == 3
    assert "DIFFERS: model.safetensors" in found.stdout


def test_a_public_key_signs_nothing_and_a_private_one_verifies_nothing(merged: Path, tmp_path: Path) -> None:
    refused = sign(merged, str(write_public(tmp_path / "key.pub", KEY)))
    assert (refused.exit_code, "holds no private key" in refused.stderr) == (1, True)
    assert not signing.of_folder(merged).envelope.exists()
    with pytest.raises(LabError, match="holds no public key"):
        signing.trusted([write_private(tmp_path / "key.pem", KEY)], lambda: pytest.fail("not asked"), None)
