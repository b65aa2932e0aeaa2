"""Hostile checkpoints at the two doors, acquisition and a merge by hand: each refused by code, nothing left.

The parents of an earlier request lie in data/parents while somebody asks for a hostile one.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stages import cli
from stages.conf import Parents
from stages.core.errors import BadCheckpoint
from stages.core.records import manifest as manifests
from stages.core.records.seen import Seen
from stages.core.sandbox import launch
from stages.core.weights import scan
from stages.core.weights.scan import Layout, Look
from stages.merge import by_hand, hand_family
from stages.merge.build import Parent
from stages.parents import __main__ as stage
from tests.attacks.checkpoints import ATTACKS, WEIGHTS, Attack
from tests.parents import tiny

Snapshot = Mapping[str, tuple[int, int, str]]
RECIPE = "method: linear\nparents: [sources/sound, sources/hostile]\n"


def parents(*names: str) -> Parents:
    """The section of a request: a base, and these."""
    return Parents.model_validate(
        {
            "base": "base",
            "merge": [*names, "sound"][:2],
            "members": {
                name: {"source": {"kind": "repository", "path": f"sources/{name}"}}
                for name in ("base", *[*names, "sound"][:2])
            },
            "complementarity": "they differ",
        }
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with three sound parents, acquired, and a fourth that an attack may spoil."""
    folder = tmp_path_factory.mktemp("template") / "lab"
    for name, fill in (("base", 1.0), ("other", 1.05), ("sound", 0.95), ("hostile", 0.9)):
        tiny.write(folder / "sources" / name, weights=tiny.safetensors(tiny.SHAPES, fill=fill))
    (folder / "recipe.yaml").write_text(RECIPE)
    stage.run(parents("other", "sound"), folder, folder / "data/parents")
    return folder


@pytest.fixture
def root(lab: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(lab, tmp_path / "lab")


def seen(folder: Path) -> Snapshot:
    """Every entry under a folder: kind and mode, time of the last change, and what it holds or leads to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about, content = path.lstat(), ""
        if stat.S_ISREG(about.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if about.st_size < 1 << 20 else ""
        elif stat.S_ISLNK(about.st_mode):
            content = str(path.readlink())
        changed = 0 if stat.S_ISDIR(about.st_mode) else about.st_mtime_ns
        found[os.fsencode(path).decode("latin-1")] = about.st_mode, changed, content
    return found


def by_command(root: Path) -> tuple[int, str]:
    """Exit code and words of `mergelab merge` of the sound parent with the hostile one."""
    out = root / "merged/out"
    words = ["merge", str(root / "recipe.yaml"), "--out", str(out), "--base-dir", str(root), "--unreviewed"]
    done = CliRunner().invoke(cli.app, words)
    return done.exit_code, done.stderr


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_both_doors_refuse_it_and_nothing_is_left_behind(
    root: Path, attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "cache"))
    attack.make(root / "sources/hostile")
    before = seen(root.parent)
    with pytest.raises(BadCheckpoint, match="hostile") as refused:
        stage.run(parents("hostile"), root, root / "data/parents")
    assert refused.value.code == attack.code
    assert seen(root.parent) == before
    if attack.code_by_hand is None:
        return
    code, words = by_command(root)
    assert code == 1
    assert f"[{attack.code_by_hand}]" in words
    assert "hostile" in words
    assert "\x1b" not in words
    assert seen(root.parent) == before


def test_an_import_refuses_what_a_merge_refuses(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (root / "dvc.yaml").touch()
    (root / "conf").mkdir()
    for name, code in (("a pipe for the card", "not-a-file"), ("trust that is asked for", "remote-code")):
        next(attack for attack in ATTACKS if attack.name == name).make(root / "sources/hostile")
        before = seen(root)
        done = CliRunner().invoke(cli.app, ["import", "recipe.yaml"])
        assert (done.exit_code, f"[{code}]" in done.stderr) == (1, True)
        assert seen(root) == before
        (root / "sources/hostile/card.json").unlink()
        (root / "sources/hostile/card.json").write_text("{}")


# --- what changes while it is looked at ---


def altered(path: Path) -> None:
    """The file with another last byte, in place: same inode, same size."""
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))


def test_a_copy_written_to_between_hash_and_scan_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = scan.look

    def swap_first(folder: Path, layout: Layout) -> Look:
        (folder / "config.json").write_text('{"model_type": "swapped"}')
        return honest(folder, layout)

    monkeypatch.setattr("stages.parents.acquire.scan.look", swap_first)
    before = seen(root)
    with pytest.raises(BadCheckpoint, match=r"the copy of config\.json was written to") as refused:
        stage.run(parents("hostile"), root, root / "data/parents")
    assert refused.value.code == "changed-while-read"
    assert seen(root) == before


def merge(root: Path) -> None:
    """The merge of the sound parent with the hostile one, as the command does it."""
    out = root / "merged/out"
    by_hand.run(root / "recipe.yaml", out, root, [], unreviewed=True, dry_run=False, fresh=True)


def test_weights_swapped_between_verify_and_load_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = launch.run

    def swap_first(*given: Any, **named: Any) -> launch.Outcome:
        altered(root / "sources/hostile" / WEIGHTS)
        return honest(*given, **named)

    monkeypatch.setattr("stages.merge.build.launch.run", swap_first)
    with pytest.raises(BadCheckpoint, match=r"hostile/model\.safetensors") as refused:
        merge(root)
    assert refused.value.code == "file-altered"
    assert list((root / "merged").iterdir()) == []


def test_a_configuration_swapped_after_it_was_judged_is_not_carried_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = hand_family.acquired

    def swap_then(model: hand_family.Model, digests: Seen) -> Parent:
        found = honest(model, digests)
        (model.folder / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Sorter"}}')
        return found

    monkeypatch.setattr("stages.merge.by_hand.hand_family.acquired", swap_then)
    with pytest.raises(BadCheckpoint, match=r"sound/config\.json is not what its manifest says") as refused:
        merge(root)
    assert refused.value.code == "file-altered"
    assert list((root / "merged").iterdir()) == []


def test_a_second_name_of_a_source_reaches_no_acquired_byte(root: Path) -> None:
    os.link(root / "sources/hostile" / WEIGHTS, root / "second-name")
    manifest = stage.run(parents("hostile"), root, root / "data/parents")["hostile"]
    altered(root / "second-name")
    manifests.check(root / "data/parents/hostile", manifest)
    for path in (root / "data/parents").rglob("*.*"):
        assert path.lstat().st_nlink == 1


def test_a_parent_of_nan_ends_a_merge_by_hand_with_one_message(root: Path) -> None:
    (root / "sources/hostile" / WEIGHTS).write_bytes(tiny.safetensors(tiny.SHAPES, fill=float("nan")))
    code, words = by_command(root)
    assert code == 1
    assert "parent 2 holds a NaN" in words
    assert list((root / "merged").iterdir()) == []
