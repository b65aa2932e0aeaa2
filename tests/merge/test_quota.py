"""The lab's storage quota: what is counted, what gives way, in which order, and what never does."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stages import cli
from stages.conf import Request
from stages.core.errors import LabError
from stages.core.records import lineage as lineages
from stages.core.records.canonical import read_json, write_json
from stages.merge import rebuild
from stages.merge.build import Workshop
from stages.merge.quota import Quota, on_front
from tests.merge.test_stage import contents, make

WEIGHT_BYTES = 34_756  # of a candidate of the tiny family: 8,623 float32 entries and a header


@pytest.fixture
def made(request_for: Request, workshop: Workshop, tmp_path: Path) -> list[str]:
    """Three candidates, used in this order, a second apart and long ago."""
    output = make(request_for, workshop, tmp_path)
    names = [entry["id"] for entry in read_json(output / "index.json")["candidates"]]
    for number, name in enumerate(names):
        for folder in (tmp_path / "store" / name, output / name):
            os.utime(folder, (1000 + number, 1000 + number))
    return names


def quota(folder: Path, size: int, pinned: tuple[str, ...] = ()) -> Quota:
    places = folder / "store", folder / "candidates"
    return Quota(size, *places, counted=(*places, folder / "parents"), pinned=pinned)


def weights(folder: Path) -> list[str]:
    """Ids whose weights lie in the output."""
    return sorted(path.parent.name for path in (folder / "candidates").glob("*/*.safetensors"))


def test_a_file_with_two_names_is_counted_once(made: list[str], tmp_path: Path) -> None:
    found = quota(tmp_path, 1).used()
    every = [path for name in ("store", "candidates", "parents") for path in (tmp_path / name).rglob("*")]
    inodes = {path.stat().st_ino: path.stat().st_size for path in every if path.is_file()}
    assert found == sum(inodes.values())
    assert found < sum(path.stat().st_size for path in every if path.is_file()) - 3 * WEIGHT_BYTES + 3


def test_the_least_recently_used_gives_way_and_its_lineage_stays(made: list[str], tmp_path: Path) -> None:
    full = quota(tmp_path, 1).used()
    bounded = quota(tmp_path, full)
    assert [one.id for one in bounded.held()] == made
    gone = bounded.make_room(1)
    assert [(one.id, one.bytes) for one in gone] == [(made[0], WEIGHT_BYTES)]
    assert weights(tmp_path) == sorted(made[1:])
    assert not (tmp_path / "store" / made[0]).exists()
    assert (tmp_path / "candidates" / made[0] / lineages.NAME).is_file()
    assert bounded.used() <= full - WEIGHT_BYTES


def test_a_search_that_finds_weights_still_there_is_a_use(
    made: list[str], request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    one = request_for.model_copy(update={"budget": request_for.budget.model_copy(update={"candidates": 1})})
    make(one, workshop, tmp_path)
    held = quota(tmp_path, 1).held()
    assert [found.id for found in held] == [*made[1:], made[0]]


def test_pinned_weights_and_those_of_the_search_at_hand_never_give_way(
    made: list[str], tmp_path: Path
) -> None:
    bounded = quota(tmp_path, 1, pinned=(made[0],))
    before = contents(tmp_path)
    going, missing = bounded.going(keep=(made[1],))
    assert [one.id for one in going] == [made[2]]
    assert missing == bounded.used() - 1 - WEIGHT_BYTES
    with pytest.raises(LabError, match=rf"quota_bytes=1: 5 more .* {missing + 5} are missing. Raise storage"):
        bounded.make_room(5, keep=(made[1],))
    assert contents(tmp_path) == before, "what cannot make room evicts nothing"
    assert all((tmp_path / "parents" / name / "model.safetensors").is_file() for name in ("base", "left"))


def test_a_search_makes_room_before_its_first_merge(
    made: list[str], request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    full = quota(tmp_path, 1).used()
    two, ties = request_for.budget.model_copy(update={"candidates": 2}), request_for.method["ties"]
    other = request_for.model_copy(update={"seed": 2, "method": {"ties": ties}, "budget": two})
    make(other, replace(workshop, quota=quota(tmp_path, full + 20_000)), tmp_path)
    kept = {path.name for path in (tmp_path / "store").glob("[!.]*")}
    assert made[0] not in kept, "the oldest gave way to the one that was new"
    assert made[1] in kept, "the anchor of ties is part of this search"
    assert len(kept) == 3


def test_a_search_that_cannot_fit_is_refused_before_anything_is_made(
    request_for: Request, workshop: Workshop, tmp_path: Path
) -> None:
    tight = replace(workshop, quota=quota(tmp_path, quota(tmp_path, 1).used() + 3 * WEIGHT_BYTES - 1))
    with pytest.raises(LabError, match=rf"{3 * WEIGHT_BYTES} more bytes are needed, .*: 1 are missing"):
        make(request_for, tight, tmp_path)
    assert list((tmp_path / "store").iterdir()) == []
    exact = replace(workshop, quota=quota(tmp_path, quota(tmp_path, 1).used() + 3 * WEIGHT_BYTES))
    assert len(rebuild.identifiers(make(request_for, exact, tmp_path))) == 3


def test_what_gave_way_is_rebuilt_to_the_same_bytes_in_the_place_of_another(
    made: list[str], workshop: Workshop, tmp_path: Path
) -> None:
    output, full = tmp_path / "candidates", quota(tmp_path, 1).used()
    before = contents(output)
    bounded = quota(tmp_path, full - 1)
    bounded.make_room(0)
    assert weights(tmp_path) == sorted(made[1:])
    full_again = replace(bounded, bytes=bounded.used() + 1)
    assert rebuild.rebuild(output, made[0], replace(workshop, quota=full_again)).differing == []
    assert weights(tmp_path) == sorted([made[0], made[2]]), "the next oldest gave way"
    assert contents(output / made[0]) == {
        name.split("/", 1)[1]: data for name, data in before.items() if name.startswith(made[0])
    }


def test_weights_without_a_lineage_beside_them_are_not_ours_to_evict(made: list[str], tmp_path: Path) -> None:
    stray = tmp_path / "candidates/stray/model.safetensors"
    stray.parent.mkdir()
    stray.write_bytes(b"x")
    assert [one.id for one in quota(tmp_path, 1).held()] == made


def test_the_front_of_the_last_report_is_pinned(tmp_path: Path) -> None:
    report = tmp_path / "front.json"
    assert on_front(report) == ()
    rows = [
        {"id": "a", "kind": "candidate", "on_front": True, "outcome": "archived"},
        {"id": "b", "kind": "candidate", "on_front": False, "outcome": "candidate"},
        {"id": "c", "kind": "candidate", "on_front": False, "outcome": "rejected"},
        {"id": "base", "kind": "base", "on_front": True, "outcome": "base"},
    ]
    write_json(report, rows)
    assert on_front(report) == ("a", "b")


@pytest.fixture
def laboratory(
    made: list[str], request_for: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The same candidates where the command line looks for them, the last of them on the front."""
    for source, target in (("store", ".mergelab/candidates"), ("candidates", "data/candidates")):
        (tmp_path / target).parent.mkdir()
        (tmp_path / source).rename(tmp_path / target)
    row = {"id": made[-1], "kind": "candidate", "on_front": True, "outcome": "candidate"}
    write_json(tmp_path / "reports/front.json", [row])
    monkeypatch.setattr(cli, "repository", lambda: tmp_path)
    monkeypatch.setattr(cli, "requested", lambda root, overrides: (request_for, ""))
    return tmp_path


def gc(*options: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli.app, ["gc", "--json", *options])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_gc_says_what_would_go_then_evicts_it_and_spares_the_front(laboratory: Path, made: list[str]) -> None:
    before = contents(laboratory)
    told = gc("--dry-run", "--to", "0")
    assert [one["id"] for one in told["evicted"]] == made[:2]
    assert contents(laboratory) == before
    done = gc("--to", "0")
    assert done["evicted"] == told["evicted"]
    assert weights(laboratory / "data") == [made[-1]]
    assert [path.name for path in (laboratory / ".mergelab/candidates").iterdir()] == [made[-1]]
    assert 0 < done["used"] <= told["used"] - 2 * WEIGHT_BYTES
    assert gc()["evicted"] == [], "the quota of the request is 100 GiB"
