"""A model that another repository tracks arrives from the commit asked for, by sha256, not by md5."""

import hashlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.conf import Member
from stages.core.errors import BadCheckpoint, LabError
from stages.core.records import manifest as manifests
from stages.parents import sources
from stages.parents.acquire import acquire
from stages.parents.pin import pin
from tests.parents import dvc_repository as other
from tests.parents import tiny

WEIGHTS = "model.safetensors"
NAMES = (WEIGHTS, "config.json", "tokenizer.json", "card.json")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC keeps its own caches under this test's folder, and git is not asked about who owns what."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.delenv("MERGELAB_STORE", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository and its DVC remote in it."""
    place = tmp_path_factory.mktemp("made")
    other.make(place / "registry", remote={"url": "../remote"})
    return place


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> tuple[Path, str]:
    """A copy of that repository, its remote beside it, for this test alone; and its commit."""
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    settings = tmp_path / "registry/.dvc/config"
    settings.write_text(settings.read_text().replace("../../remote", str(tmp_path / "remote")))
    return tmp_path / "registry", other.commit(tmp_path / "registry")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of ours that holds nothing yet."""
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


def digests(registry: Path) -> dict[str, str]:
    folder = registry / other.FOLDER
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES}


def member(url: Path | str, commit: str, files: dict[str, str]) -> Member:
    asked = {"kind": "dvc", "url": str(url), "commit": commit, "path": other.FOLDER, "files": files}
    return Member(source=asked)


def get(asked: Member, root: Path) -> manifests.Manifest:
    return acquire({"sorter": asked}, root, root / "data/parents")["sorter"]


def test_weights_in_dvc_and_files_in_git_arrive_together(registry: tuple[Path, str], root: Path) -> None:
    folder, commit = registry
    manifest = get(member(folder, commit, digests(folder)), root)
    manifests.check(root / "data/parents/sorter", manifest)
    assert set(manifest.files) == {WEIGHTS, "config.json", "tokenizer.json"}


def test_a_repository_behind_a_url_is_cloned_and_its_remote_is_asked(
    registry: tuple[Path, str], root: Path
) -> None:
    folder, commit = registry
    files = digests(folder)
    manifest = get(member(f"file://{folder}", commit, files), root)
    assert manifest.files[WEIGHTS].sha256 == files[WEIGHTS]


def test_the_commit_asked_for_counts_whatever_was_committed_since(
    registry: tuple[Path, str], root: Path
) -> None:
    folder, first = registry
    files = digests(folder)
    (folder / other.FOLDER / "config.json").write_text(json.dumps(tiny.CONFIG | {"rope_theta": 5e5}))
    second = other.commit(folder)
    assert get(member(folder, first, files), root).files["config.json"].sha256 == files["config.json"]
    with pytest.raises(BadCheckpoint, match=r"config\.json .* is not the file asked for") as caught:
        get(member(folder, second, files | {"config.json": "0" * 64}), root)
    assert caught.value.code == "source-digest"


def test_a_poisoned_remote_is_found_out_though_dvc_is_content(registry: tuple[Path, str], root: Path) -> None:
    folder, commit = registry
    files = digests(folder)
    [held] = [path for path in (folder.parent / "remote").rglob("*") if path.is_file()]
    held.chmod(0o644)
    held.write_bytes(held.read_bytes()[:-1] + b"\xff")  # DVC does not hash what lies on a remote
    for cached in (folder / ".dvc/cache").rglob("*"):
        if cached.is_file():
            cached.unlink()
    with pytest.raises(BadCheckpoint, match="is not the file asked for"):
        get(member(f"file://{folder}", commit, files), root)
    assert not list((root / "data/parents").iterdir())


def test_a_part_that_has_arrived_is_not_asked_for_again(
    registry: tuple[Path, str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, commit = registry
    files = digests(folder)
    part = root / ".mergelab/sources/parts" / files[WEIGHTS]
    part.parent.mkdir(parents=True)
    part.write_bytes((folder / other.FOLDER / WEIGHTS).read_bytes()[:100])
    asked = member(folder, commit, files)
    size = (folder / other.FOLDER / WEIGHTS).stat().st_size
    assert {want.name: want.bytes for want in sources.wanted(asked.source, root)}[WEIGHTS] == size - 100
    get(asked, root)
    assert not part.exists()


def test_a_link_in_git_is_not_followed(registry: tuple[Path, str], root: Path, tmp_path: Path) -> None:
    folder, _ = registry
    files = digests(folder)
    (tmp_path / "secret.json").write_text(json.dumps(tiny.CONFIG))
    (folder / other.FOLDER / "config.json").unlink()
    (folder / other.FOLDER / "config.json").symlink_to(tmp_path / "secret.json")
    commit = other.commit(folder)
    with pytest.raises(BadCheckpoint, match="is not the file asked for"):
        get(member(folder, commit, files), root)
    target = hashlib.sha256(str(tmp_path / "secret.json").encode()).hexdigest()
    with pytest.raises(BadCheckpoint, match="malformed JSON"):
        get(member(folder, commit, files | {"config.json": target}), root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commit": "0" * 40}, "unknown Git revision"),
        ({"path": "models/nobody"}, "is not in models/nobody"),
        ({"url": "/nowhere/at/all"}, "cannot fetch"),
    ],
)
def test_a_place_that_is_not_there_is_one_message(
    registry: tuple[Path, str], root: Path, changes: dict[str, str], message: str
) -> None:
    folder, commit = registry
    asked = member(folder, commit, digests(folder)).source.model_dump() | changes
    with pytest.raises(LabError, match=message):
        get(Member(source=asked), root)


@pytest.mark.skipif(find_spec("dvc_s3") is not None, reason="the extra `s3` is installed")
def test_a_remote_on_s3_asks_for_the_extra_where_it_is_missing(
    registry: tuple[Path, str], root: Path
) -> None:
    folder, _ = registry
    settings = folder / ".dvc/config"
    settings.write_text(settings.read_text().replace(str(folder.parent / "remote"), "s3://models/store"))
    commit = other.commit(folder)
    with pytest.raises(LabError, match="A remote on S3 needs the extra `s3`"):
        get(member(f"file://{folder}", commit, digests(folder)), root)


def test_what_pin_prints_is_a_source_that_can_be_acquired(registry: tuple[Path, str], root: Path) -> None:
    folder, commit = registry
    (folder / other.FOLDER / "train.py").write_text("print()")
    commit = other.commit(folder)
    found = pin(f"{{kind: dvc, url: {folder}, commit: '{commit}', path: {other.FOLDER}}}", root)
    assert found.source["files"] == digests(folder)
    assert "train.py" in found.left
    assert get(Member(source=found.source), root).digest == found.manifest.digest
