"""A source leads to a folder that exists and is where it claims to be, or is refused."""

from pathlib import Path

import pytest

from stages.core.errors import BadCheckpoint
from stages.core.records.source import Hub, LocalPath, Repository
from stages.parents.sources import locate, problems


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one source, beside a folder that is not in it."""
    (tmp_path / "repository" / "data" / "sources" / "sorter").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "repository"


def repository(path: str) -> Repository:
    return Repository(kind="repository", path=path)


def test_a_folder_of_the_repository_is_found(root: Path) -> None:
    found = locate("sorter", repository("data/sources/sorter"), root)
    assert found == (root / "data/sources/sorter").resolve()


@pytest.mark.parametrize("path", ["../elsewhere", "data/../../elsewhere", "/etc", ".", "data/.."])
def test_a_path_that_leaves_the_repository_is_refused(root: Path, path: str) -> None:
    with pytest.raises(BadCheckpoint, match="does not lie in the repository") as caught:
        locate("sorter", repository(path), root)
    assert caught.value.code == "source-outside"


def test_a_link_that_leads_out_of_the_repository_is_refused(root: Path) -> None:
    (root / "data" / "sources" / "link").symlink_to(root.parent / "elsewhere")
    with pytest.raises(BadCheckpoint, match="does not lie in the repository"):
        locate("sorter", repository("data/sources/link"), root)


def test_a_missing_folder_is_refused_with_the_key_to_correct(root: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"parents\.members\.sorter\.source\.path") as caught:
        locate("sorter", repository("data/sources/sorted"), root)
    assert caught.value.code == "source-missing"


def test_a_path_with_a_nul_is_refused(root: Path) -> None:
    with pytest.raises(BadCheckpoint, match="is no path") as caught:
        locate("sorter", repository("data/\0"), root)
    assert caught.value.code == "source-path"


def test_an_absolute_local_path_is_found(root: Path) -> None:
    outside = root.parent / "elsewhere"
    assert locate("sorter", LocalPath(kind="path", path=str(outside)), root) == outside.resolve()


def test_a_tilde_stands_for_the_home_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    found = locate("sorter", LocalPath(kind="path", path="~/elsewhere"), root)
    assert found == (root.parent / "elsewhere").resolve()


def test_a_relative_local_path_is_refused(root: Path) -> None:
    with pytest.raises(BadCheckpoint, match="kind: repository") as caught:
        locate("sorter", LocalPath(kind="path", path="data/sources/sorter"), root)
    assert caught.value.code == "source-path"


SHARDED = (
    "config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
)


@pytest.mark.parametrize("left_out", [None, *SHARDED[2:]])
def test_a_request_names_the_index_and_every_shard_of_a_sharded_source(
    root: Path, left_out: str | None
) -> None:
    files = {name: "0" * 64 for name in SHARDED if name != left_out}
    source = Hub(kind="hub", repo="org/sorter", commit="0" * 40, files=files)
    found = list(problems("sorter", source, root, adapter=False))
    assert [problem.partition(" is missing")[0] for problem in found] == (
        [f"parents.members.sorter.source.files: {left_out}"] if left_out else []
    )
