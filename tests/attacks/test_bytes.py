"""Bytes that are not what somebody says they are: swapped, poisoned, written in place, cached by a forger.

Not here, since they stand elsewhere: hostile checkpoints (test_checkpoints.py), forged records
(test_lineage.py), merge-resistant parents and permuted vocabularies (tests/eligibility/test_basin.py), cards
with a forged digest (tests/eligibility/test_evaluation.py), bytes that change between two reads of one merge
(tests/core/weights/test_engine.py).
"""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from stages.cli import app
from stages.conf import Member, Request
from stages.core.errors import BadCheckpoint, LabError, WorkerFailed
from stages.core.records import manifest as manifests
from stages.core.records import seen
from stages.core.records.canonical import dumps, read_json, write_json
from stages.core.records.evidence import TaskEvidence
from stages.core.records.files import sha256_bytes, sha256_file
from stages.core.sandbox.dialogue import Dialogue
from stages.core.sandbox.limits import Limits
from stages.core.weights import hashing
from stages.eval.store import EvidenceStore
from stages.merge import by_hand, elsewhere, rebuild
from stages.merge.build import Workshop
from stages.merge.memory import Memory
from stages.parents.acquire import acquire
from tests.attacks.conftest import Unharmed
from tests.merge.conftest import parents, request_for, workshop  # noqa: F401  fixtures
from tests.merge.test_by_hand import card, recipe
from tests.merge.test_stage import make
from tests.parents import tiny

WEIGHTS = "model.safetensors"
TIES = "method: ties\nbase: base\nparents: [left, right]\n"
# 128 bytes, and the bits that may be turned over in them without a change of md5. X. Wang, D. Feng, X. Lai,
# H. Yu, Collisions for Hash Functions MD4, MD5, HAVAL-128 and RIPEMD, 2004.
ONE = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
OTHER = bytes(byte ^ 0x80 if place in (19, 45, 59, 83, 109, 123) else byte for place, byte in enumerate(ONE))


CHANGED = r"^\[(file-altered|header-offsets)\].*left"


@pytest.fixture
def family(parents: Path) -> Path:  # noqa: F811
    """Three acquired parents of one family, with whole cards."""
    for name in ("base", "left", "right"):
        write_json(parents / name / "card.json", card(name))
    return parents


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough at once."""
    monkeypatch.setattr(seen, "SETTLED_NS", -60_000_000_000)


def merge(family: Path, out: Path, memory: Memory, text: str = TIES) -> None:
    by_hand.merge(recipe(family, text), out, unreviewed=False, memory=memory, report=lambda *_: None)


def flip(path: Path, offset: int = -4) -> None:
    """Four bytes near the end turned over, through a new file: the old one may be a link or read-only."""
    data = bytearray(path.read_bytes())
    data[offset:] = bytes(value ^ 0x55 for value in data[offset:])
    path.unlink()
    path.write_bytes(data)


# --- what transports and hashes of others let through


@pytest.mark.filterwarnings("ignore")  # DVC's own
def test_a_poisoned_dvc_cache_is_restored_in_silence_and_caught_by_sha256(
    tmp_path: Path, unharmed: Unharmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.cli import main as dvc

    source = tiny.write(tmp_path / "lab/sources/sorter")
    digest = manifests.describe(source).digest
    monkeypatch.chdir(tmp_path / "lab")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for words in (["init", "--no-scm", "--quiet"], ["add", f"sources/sorter/{WEIGHTS}"]):
        assert dvc(words) == 0
    (cached,) = (path for path in Path(".dvc/cache/files").rglob("*") if path.is_file())
    flip(cached)
    cached.chmod(0o444)
    (source / WEIGHTS).unlink()
    assert dvc(["checkout", "--quiet"]) == 0
    assert dvc(["status", "--quiet"]) == 0, "DVC calls it up to date"
    (source.parent / ".gitignore").unlink(missing_ok=True)
    for beside in (f"{WEIGHTS}.dvc", ".gitignore"):
        (source / beside).unlink(missing_ok=True)
    asked = Member(source={"kind": "repository", "path": "sources/sorter", "digest": digest})
    output = tmp_path / "lab/data/parents"
    output.mkdir(parents=True)
    (tmp_path / "lab/.mergelab/sources").mkdir(parents=True)
    with unharmed(output), pytest.raises(BadCheckpoint, match=r"^\[source-digest\] sorter"):
        acquire({"sorter": asked}, tmp_path / "lab", output)


def test_twins_of_one_md5_are_told_apart(tmp_path: Path, unharmed: Unharmed) -> None:
    assert ONE != OTHER
    assert hashlib.md5(ONE).digest() == hashlib.md5(OTHER).digest()
    source = tiny.write(tmp_path / "sources/sorter")
    (source / "LICENSE").write_bytes(ONE)
    digest = manifests.describe(source).digest
    asked = Member(source={"kind": "repository", "path": "sources/sorter", "digest": digest})
    output = tmp_path / "data/parents"
    acquire({"sorter": asked}, tmp_path, output)
    (source / "LICENSE").write_bytes(OTHER)
    with unharmed(output), pytest.raises(BadCheckpoint, match=r"^\[source-digest\] sorter"):
        acquire({"sorter": asked}, tmp_path, output)
    shutil.copy2(source / "LICENSE", output / "sorter/LICENSE")
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*LICENSE"):
        manifests.check(output / "sorter", manifests.load(output / "sorter"))


# --- between check and use


def swap(path: Path) -> None:
    """Another file of the same size and time takes its place."""
    before = path.stat()
    draft = path.with_name("draft")
    draft.write_bytes(path.read_bytes())
    flip(draft)
    os.utime(draft, ns=(before.st_atime_ns, before.st_mtime_ns))
    draft.replace(path)


def write_in_place(path: Path) -> None:
    """Four bytes are written into it, and its time is set back."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(b"\1\2\3\4")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 64)


RACES: Mapping[str, Callable[[Path], None]] = {
    "swapped": swap,
    "written in place": write_in_place,
    "cut": cut,
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", RACES)
def test_a_parent_that_was_verified_and_is_then_changed_is_refused(
    name: str, family: Path, tmp_path: Path, unharmed: Unharmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(tmp_path / "memory")
    memory.digests.digests([family / "left" / WEIGHTS], hashing.of_files)  # from now on known by its stamp
    look = Memory.look

    def racing(self: Memory, *given: object) -> object:
        found = look(self, *given)  # type: ignore[arg-type]
        RACES[name](family / "left" / WEIGHTS)
        return found

    monkeypatch.setattr(Memory, "look", racing)
    (tmp_path / "out").mkdir()
    with (
        unharmed(tmp_path / "out"),
        pytest.raises(BadCheckpoint, match=CHANGED),
    ):
        merge(family, tmp_path / "out/merged", memory)


def test_a_worker_that_a_cut_file_kills_says_so() -> None:
    died = Dialogue("merge", "L2", Limits(), None)
    died.proof = {"level": "L2"}
    with pytest.raises(WorkerFailed, match="ended by SIGBUS: a file was cut while it was read"):
        died.result(-signal.SIGBUS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_parent_with_a_number_that_is_none_is_refused_by_the_merge_itself(
    value: float, family: Path, tmp_path: Path, unharmed: Unharmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = load_file(family / "left" / WEIGHTS)
    tensors["norm.weight"][3] = value
    save_file(tensors, family / "left" / WEIGHTS, metadata={"format": "pt"})
    write_json(family / "left" / manifests.NAME, manifests.describe(family / "left").to_json())
    (tmp_path / "out").mkdir()
    (tmp_path / "evil.yml").write_text("method: linear\nparents: [left, right]\n")
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")))
    command = ["merge", str(tmp_path / "evil.yml"), "--base-dir", str(family), "--fresh"]
    with unharmed(tmp_path / "out"):
        done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out/merged")])
    assert done.exit_code == 1
    assert "cannot merge tensor 'norm.weight': parent 1 holds a NaN or an infinity" in done.stderr


def test_a_manifest_that_was_edited_to_fit_is_refused(
    family: Path, tmp_path: Path, unharmed: Unharmed
) -> None:
    flip(family / "left" / WEIGHTS)
    tree = read_json(family / "left" / manifests.NAME)
    tree["files"][WEIGHTS]["sha256"] = sha256_file(family / "left" / WEIGHTS)
    write_json(family / "left" / manifests.NAME, tree)
    (tmp_path / "out").mkdir()
    with unharmed(tmp_path / "out"), pytest.raises(BadCheckpoint, match=r"^\[manifest-digest\].*left"):
        merge(family, tmp_path / "out/merged", Memory())


# --- caches whose forger knows how they are made: found where nothing is remembered


@pytest.mark.usefixtures("settled")
def test_a_forged_digest_in_the_memory_deceives_a_merge_and_no_verification(
    family: Path, tmp_path: Path
) -> None:
    memory = Memory(tmp_path / "memory")
    path = family / "left" / WEIGHTS
    recorded = sha256_file(path)
    write_in_place(path)
    write_json(tmp_path / "memory/digests.json", {seen.stamp(path.stat()): recorded})
    merge(family, tmp_path / "out", memory)
    with pytest.raises(LabError, match=r"no folder holds 'left'"):
        elsewhere.verified(tmp_path / "out/lineage.json", [family])
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*left"):
        merge(family, tmp_path / "fresh", Memory())


@pytest.mark.usefixtures("settled")
def test_a_forged_statistic_with_a_true_digest_is_found_by_verification(family: Path, tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory")
    merge(family, tmp_path / "true", memory)
    for path in (tmp_path / "memory/statistics").iterdir():
        tree = json.loads(path.read_text())
        for values in tree["entries"].values():
            values[0] = values[0] * 0.5
        tree["sha256"] = sha256_bytes(dumps([tree["subject"], tree["entries"]]))
        path.write_text(json.dumps(tree))
    merge(family, tmp_path / "forged", memory)
    assert (tmp_path / "forged" / WEIGHTS).read_bytes() != (tmp_path / "true" / WEIGHTS).read_bytes()
    assert elsewhere.verified(tmp_path / "forged/lineage.json", [family]).differing


def _forge_weights(stored: Path) -> None:
    """Other weights, and a manifest that is true of them."""
    tensors = load_file(stored / WEIGHTS)
    tensors["norm.weight"] = tensors["norm.weight"] + np.float32(1e-3)
    (stored / WEIGHTS).unlink()
    save_file(tensors, stored / WEIGHTS, metadata={"format": "pt"})
    write_json(stored / manifests.NAME, manifests.describe(stored).to_json())


def _forge_notes(stored: Path) -> None:
    """built.json says otherwise how it was made."""
    built = read_json(stored / "built.json")
    write_json(stored / "built.json", built | {"notes": {"forged": ["yes"]}})


@pytest.mark.parametrize("forge", [_forge_weights, _forge_notes])
def test_a_candidate_forged_in_the_store_is_found_by_verification(
    forge: Callable[[Path], None],
    request_for: Request,  # noqa: F811
    workshop: Workshop,  # noqa: F811
    tmp_path: Path,
) -> None:
    one = request_for.model_copy(update={"budget": request_for.budget.model_copy(update={"candidates": 1})})
    output = make(one, workshop, tmp_path)
    (stored,) = (tmp_path / "store").glob("[!.]*")
    forge(stored)
    output = make(one, workshop, tmp_path)
    (name,) = rebuild.identifiers(output)
    assert rebuild.verify(output, name, workshop).differing


def test_a_forged_record_of_a_build_is_made_again(
    request_for: Request,  # noqa: F811
    workshop: Workshop,  # noqa: F811
    tmp_path: Path,
) -> None:
    one = request_for.model_copy(update={"budget": request_for.budget.model_copy(update={"candidates": 1})})
    first = (make(one, workshop, tmp_path) / "index.json").read_bytes()
    (stored,) = (tmp_path / "store").glob("[!.]*")
    built = read_json(stored / "built.json")
    level = built["isolation"] | {"level": "L1", "degraded": True}
    for forged in ({**built, "isolation": level}, {**built, "recipe": {**built["recipe"], "seed": 9}}):
        write_json(stored / "built.json", forged)
        assert (make(one, workshop, tmp_path) / "index.json").read_bytes() == first
        assert read_json(stored / "built.json") == built


def test_answers_kept_for_another_subject_are_no_answers_of_this_one(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    answers = {"copy": TaskEvidence((True, True), (-0.1, -0.2), (3, 3))}
    store.put("a" * 64, "1" * 64, 1, answers)
    assert store.get("a" * 64, {"copy": 2}) == answers
    shutil.copy2(tmp_path / f"{'a' * 64}.json", tmp_path / f"{'b' * 64}.json")
    assert store.get("b" * 64, {"copy": 2}) is None
