"""A parent arrives whole, verified and described, or not at all."""

import errno
import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.conf import Member
from stages.core.errors import BadCheckpoint, LabError
from stages.core.records import card as cards
from stages.core.records import manifest as manifests
from stages.core.weights import scan
from stages.parents import __main__ as stage
from stages.parents.acquire import acquire
from tests.parents import tiny


def here(folder: Path) -> Member:
    return Member(source={"kind": "repository", "path": str(folder.relative_to(folder.parents[1]))})


def acquire_one(folder: Path, output: Path, **source: Any) -> manifests.Manifest:
    asked = Member(source={"kind": "repository", "path": f"sources/{folder.name}", **source})
    return acquire({folder.name: asked}, folder.parents[1], output)[folder.name]


@pytest.fixture
def sorter(tmp_path: Path) -> Path:
    """A source that passes."""
    return tiny.write(tmp_path / "sources" / "sorter")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where parents go; it does not exist yet."""
    return tmp_path / "data" / "parents"


def test_an_acquired_parent_holds_its_files_its_card_and_a_manifest_that_checks(
    sorter: Path, output: Path
) -> None:
    manifest = acquire_one(sorter, output)
    names = {path.name for path in (output / "sorter").iterdir()}
    assert names == {"model.safetensors", "config.json", "tokenizer.json", "card.json", "manifest.json"}
    assert manifests.load(output / "sorter") == manifest
    manifests.check(output / "sorter", manifest)
    weights = (sorter / "model.safetensors").read_bytes()
    assert manifest.files["model.safetensors"].sha256 == hashlib.sha256(weights).hexdigest()


def test_the_card_and_the_readme_are_no_part_of_the_digest(sorter: Path, output: Path) -> None:
    before = acquire_one(sorter, output).digest
    (sorter / "README.md").write_text("words")
    tree = json.loads((sorter / "card.json").read_text()) | {"title": "another title"}
    (sorter / "card.json").write_text(json.dumps(tree))
    assert acquire_one(sorter, output).digest == before
    assert cards.load(output / "sorter" / "card.json").title == "another title"


def test_acquiring_twice_changes_no_byte(sorter: Path, output: Path) -> None:
    acquire_one(sorter, output)
    first = {path.name: path.read_bytes() for path in (output / "sorter").iterdir()}
    acquire_one(sorter, output)
    assert {path.name: path.read_bytes() for path in (output / "sorter").iterdir()} == first


def test_a_later_change_of_the_source_leaves_the_copy_alone(sorter: Path, output: Path) -> None:
    manifest = acquire_one(sorter, output)
    with (sorter / "model.safetensors").open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    manifests.check(output / "sorter", manifest)


def test_parents_of_an_earlier_request_and_drafts_of_a_killed_run_are_removed(
    sorter: Path, output: Path
) -> None:
    (output / "recaller").mkdir(parents=True)
    (output / ".sorter.0badcafe.part").mkdir()
    acquire_one(sorter, output)
    assert [path.name for path in output.iterdir()] == ["sorter"]


def test_a_refused_parent_leaves_nothing_behind_and_keeps_the_others_unpublished(
    sorter: Path, output: Path
) -> None:
    recaller = tiny.write(sorter.parent / "recaller")
    (recaller / "config.json").write_text('{"auto_map": {}}')
    with pytest.raises(BadCheckpoint, match=r"recaller/config\.json has the key 'auto_map'") as caught:
        acquire({"sorter": here(sorter), "recaller": here(recaller)}, sorter.parents[1], output)
    assert caught.value.code == "remote-code"
    assert list(output.iterdir()) == []


def test_the_problems_of_all_parents_are_reported_at_once(sorter: Path, output: Path) -> None:
    recaller = tiny.write(sorter.parent / "recaller")
    (recaller / "card.json").unlink()
    (sorter / "train.py").touch()
    with pytest.raises(
        BadCheckpoint, match=r"(?s)2 parents were refused.*\[code\].*\[card-missing\]"
    ) as caught:
        acquire({"sorter": here(sorter), "recaller": here(recaller)}, sorter.parents[1], output)
    assert caught.value.code == "code"


def test_a_parent_without_a_card_is_refused_with_a_template_to_fill_in(sorter: Path, output: Path) -> None:
    (sorter / "card.json").unlink()
    with pytest.raises(BadCheckpoint, match="Write one beside its weights") as caught:
        acquire_one(sorter, output)
    assert caught.value.code == "card-missing"
    printed = str(caught.value)
    assert cards.parse(json.loads(printed[printed.index("{") :]), "template").id == "sorter"


def test_a_malformed_card_is_refused_with_every_problem_and_no_draft_path(sorter: Path, output: Path) -> None:
    (sorter / "card.json").write_text(json.dumps(tiny.card("sorter", b"", role="cook", colour="red")))
    with pytest.raises(
        BadCheckpoint, match=r"sorter/card\.json: role: .*\n.*sorter/card\.json: colour"
    ) as caught:
        acquire_one(sorter, output)
    assert caught.value.code == "card"
    assert ".part" not in str(caught.value)


def test_the_card_of_another_parent_is_refused(sorter: Path, output: Path) -> None:
    (sorter / "card.json").write_text(json.dumps(tiny.card("recaller", b"")))
    with pytest.raises(BadCheckpoint, match="is the card of 'recaller'") as caught:
        acquire_one(sorter, output)
    assert caught.value.code == "card-id"


def test_a_parent_with_another_digest_than_the_request_states_is_refused(sorter: Path, output: Path) -> None:
    with pytest.raises(BadCheckpoint, match="is not the artifact asked for") as caught:
        acquire_one(sorter, output, digest="0" * 64)
    assert caught.value.code == "source-digest"


def test_a_local_source_without_a_digest_is_refused_and_told_the_digest_to_write(
    sorter: Path, output: Path
) -> None:
    digest = acquire_one(sorter, output).digest
    with pytest.raises(BadCheckpoint, match=digest) as caught:
        acquire_one(sorter, output, kind="path", path=str(sorter))
    assert caught.value.code == "digest-missing"
    assert acquire_one(sorter, output, kind="path", path=str(sorter), digest=digest).digest == digest


def test_a_manifest_of_other_files_in_the_source_is_refused(sorter: Path, output: Path) -> None:
    acquire_one(sorter, output)
    stated = json.loads((output / "sorter" / "manifest.json").read_text())
    (sorter / "manifest.json").write_text(json.dumps(stated))
    acquire_one(sorter, output)
    (sorter / "LICENSE").write_text("a file that the manifest does not list")
    with pytest.raises(BadCheckpoint, match="does not describe the files beside it") as caught:
        acquire_one(sorter, output)
    assert caught.value.code == "manifest-mismatch"


def test_a_manifest_that_is_none_is_refused_like_any_other_mismatch(sorter: Path, output: Path) -> None:
    (sorter / "manifest.json").write_text('{"files": 3}')
    with pytest.raises(BadCheckpoint, match="does not describe"):
        acquire_one(sorter, output)


def grow(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b" ")


def overwrite_and_restore_the_time(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as stream:
        stream.write(b" ")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("meddle", [grow, overwrite_and_restore_the_time])
def test_a_file_written_while_it_is_read_is_refused(
    sorter: Path, output: Path, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], None]
) -> None:
    time.sleep(0.02)  # longer than a tick of the kernel's clock (at most 10 ms), which dates the change

    class Meddler:
        def __init__(self, data: bytes = b"") -> None:
            del data

        def update(self, block: bytes) -> None:
            if b"architectures" in block:  # config.json, and no other file
                meddle(sorter / "config.json")

        def hexdigest(self) -> str:
            return "0" * 64

    monkeypatch.setattr("stages.core.records.files.sha256", Meddler)
    with pytest.raises(BadCheckpoint, match=r"config\.json changed while it was read") as caught:
        acquire_one(sorter, output)
    assert caught.value.code == "changed-while-read"
    assert list(output.iterdir()) == []


def test_a_file_swapped_for_a_link_after_the_first_look_is_not_followed(
    sorter: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = scan.outside

    def swap_after(folder: Path, layout: scan.Layout) -> list[scan.Problem]:
        found = honest(folder, layout)
        (folder / "config.json").unlink(missing_ok=True)
        (folder / "config.json").symlink_to("/etc/hostname")
        return found

    monkeypatch.setattr("stages.parents.acquire.scan.outside", swap_after)
    with pytest.raises(BadCheckpoint, match=r"cannot read .*config\.json") as caught:
        acquire_one(sorter, output)
    assert caught.value.code == "unreadable"


def test_the_stage_acquires_the_base_first_and_then_the_parents_in_order(
    tmp_path: Path, output: Path
) -> None:
    for name in ("base", "sorter", "recaller"):
        tiny.write(tmp_path / "sources" / name)
    parents = stage.Parents.model_validate(
        {
            "base": "base",
            "merge": ["sorter", "recaller"],
            "members": {
                name: {"source": {"kind": "repository", "path": f"sources/{name}"}}
                for name in ("recaller", "sorter", "base")
            },
            "complementarity": "one sorts, the other recalls",
        }
    )
    assert list(stage.run(parents, tmp_path, output)) == ["base", "sorter", "recaller"]


def test_arguments_that_mean_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr("sys.stderr", told)
    assert stage.main(["trian"]) == 2
    assert "trian" in told.getvalue()


def test_a_full_disk_is_one_message_and_leaves_nothing_behind(
    sorter: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire_one(sorter, output)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stages.core.records.files.os.fsync", full)
    with pytest.raises(LabError, match="No space left on device"):
        acquire_one(sorter, output)
    assert [path.name for path in output.iterdir()] == ["sorter"]
    manifests.check(output / "sorter", manifests.load(output / "sorter"))
