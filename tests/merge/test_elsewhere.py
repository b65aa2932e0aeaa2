"""Rebuilding from a lineage and parents alone, in a folder that knows of no repository."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stages import cli
from stages.conf import Request
from stages.core.errors import BadCheckpoint, LabError
from stages.core.records import lineage as lineages
from stages.core.records.canonical import read_json, write_json
from stages.core.records.files import sha256_file
from stages.merge import elsewhere, rebuild
from stages.merge.build import Workshop
from tests.architecture.tree import ROOT
from tests.merge.test_stage import make


@pytest.fixture
def candidates(request_for: Request, workshop: Workshop, tmp_path: Path) -> Path:
    """data/candidates as the stage makes it, elsewhere than what the tests work on."""
    return make(request_for, workshop, tmp_path / "lab")


@pytest.fixture
def away(tmp_path: Path, candidates: Path, parents: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one lineage and, somewhere below, the parents under other names; nothing else is left."""
    folder = tmp_path / "away"
    (folder / "models/of/others").mkdir(parents=True)
    for n, name in enumerate(("base", "left", "right")):
        shutil.move(parents / name, folder / "models/of/others" / f"m{n}")
        for beside in ("manifest.json", "card.json"):
            (folder / "models/of/others" / f"m{n}" / beside).unlink()
    chosen = next(
        name
        for name in rebuild.identifiers(candidates)
        if lineages.load(candidates / name / lineages.NAME).recipe.method == "ties"
    )
    shutil.copyfile(candidates / chosen / lineages.NAME, folder / lineages.NAME)
    shutil.rmtree(candidates.parent)
    monkeypatch.chdir(folder)
    assert ROOT not in folder.parents
    return folder


def test_every_recorded_byte_comes_back_from_the_lineage_and_parents_found_by_digest(away: Path) -> None:
    recorded = lineages.load(away / lineages.NAME)
    found = elsewhere.rebuilt(away / lineages.NAME, [away / "models"], away / "out")
    assert (found.id, found.differing) == (recorded.recipe.id, [])
    assert {name: sha256_file(away / "out" / name) for name in recorded.files} == recorded.files
    names = {path.name for path in (away / "out").iterdir()}
    assert names == {*recorded.files, "lineage.json", "manifest.json"}


def test_the_command_needs_no_repository_and_prints_match(away: Path) -> None:
    arguments = ["--lineage", "lineage.json", "--parents", "models"]
    done = CliRunner().invoke(cli.app, ["rebuild", *arguments, "--out", "out"])
    assert (done.exit_code, done.output.split()[-1]) == (0, "MATCH")
    done = CliRunner().invoke(cli.app, ["verify", *arguments, "--json"])
    assert json.loads(done.output)[0]["match"] is True
    assert sorted(path.name for path in away.iterdir()) == ["lineage.json", "models", "out"]


def test_a_parent_with_one_other_byte_is_not_found_and_named(away: Path) -> None:
    weights = away / "models/of/others/m1/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(LabError, match=r"no folder holds 'left' \(digest .*model\.safetensors.*--parents"):
        elsewhere.rebuilt(away / lineages.NAME, [away / "models"], away / "out")
    assert not (away / "out").exists()


def test_a_twin_with_other_weights_is_passed_over_for_the_recorded_one(away: Path) -> None:
    twin = away / "models/of/others/a-twin"
    shutil.copytree(away / "models/of/others/m1", twin)
    shutil.copyfile(away / "models/of/others/m2/model.safetensors", twin / "model.safetensors")
    assert elsewhere.rebuilt(away / lineages.NAME, [away / "models"], away / "out").differing == []


def test_parents_behind_links_are_not_taken(away: Path) -> None:
    (away / "elsewhere").mkdir()
    (away / "models").rename(away / "elsewhere/models")
    (away / "models").mkdir()
    (away / "models/link").symlink_to(away / "elsewhere/models/of/others")
    with pytest.raises(LabError, match="Links are not followed"):
        elsewhere.rebuilt(away / lineages.NAME, [away / "models"], away / "out")


def test_a_lineage_of_other_bytes_leaves_nothing_and_says_what_differs(away: Path) -> None:
    tree = read_json(away / lineages.NAME)
    tree["subject"][-1]["digest"]["sha256"] = "0" * 64
    write_json(away / lineages.NAME, tree)
    before = sorted(away.iterdir())
    arguments = ["--lineage", "lineage.json", "--parents", "models", "--out", "out"]
    done = CliRunner().invoke(cli.app, ["rebuild", *arguments])
    assert done.exit_code == 3
    assert "DIFFERS" in done.output
    assert sorted(away.iterdir()) == before


def test_a_lineage_whose_files_lead_elsewhere_is_refused_before_anything_is_read(away: Path) -> None:
    tree = read_json(away / lineages.NAME)
    tree["subject"][0]["name"] = "../escaped"
    write_json(away / lineages.NAME, tree)
    with pytest.raises(BadCheckpoint, match=r"^\[lineage-subject\]"):
        elsewhere.rebuilt(away / lineages.NAME, [away / "models"], away / "out")


def test_an_occupied_place_is_refused(away: Path) -> None:
    (away / "out").mkdir()
    (away / "out/mine").write_text("keep")
    with pytest.raises(LabError, match="is not empty"):
        elsewhere.rebuilt(away / lineages.NAME, [away / "models"], away / "out")
    assert (away / "out/mine").read_text() == "keep"


@pytest.mark.parametrize(
    "place",
    [
        ("plan", "digest"),
        ("plan", "tensors", "norm.weight", "coefficients", "density"),
        ("contract", "round"),
        ("alignment",),
    ],
)
def test_verify_refuses_a_lineage_whose_arithmetic_was_edited_though_every_byte_matches(
    away: Path, place: tuple[str, ...]
) -> None:
    tree = read_json(away / lineages.NAME)
    node = tree["predicate"]["buildDefinition"]["internalParameters"]["arithmetic"]
    for key in place[:-1]:
        node = node[key]
    assert place[-1] in node
    node[place[-1]] = "edited"
    write_json(away / lineages.NAME, tree)
    found = elsewhere.verified(away / lineages.NAME, [away / "models"])
    assert found.differing == [f"lineage.json: {place[0]}"]
    assert "every byte is as recorded" in found.because
