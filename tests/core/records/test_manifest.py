from pathlib import Path

import pytest

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import write_json
from stages.core.records.manifest import NAME, check, describe, load


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    write_json(tmp_path / NAME, describe(tmp_path).to_json())
    return tmp_path


def test_an_untouched_artifact_passes(artifact: Path) -> None:
    check(artifact, load(artifact))


def test_the_card_is_about_the_artifact_and_no_part_of_its_digest(artifact: Path) -> None:
    before = describe(artifact).digest
    (artifact / "card.json").write_text("{}")
    assert describe(artifact).digest == before


def test_a_flipped_byte_that_keeps_the_size_is_found(artifact: Path) -> None:
    (artifact / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(BadCheckpoint, match=r"file-altered.*model\.safetensors"):
        check(artifact, load(artifact))


def test_a_missing_file_is_named(artifact: Path) -> None:
    (artifact / "config.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"file-missing.*config\.json"):
        check(artifact, load(artifact))


def test_an_extra_file_is_named(artifact: Path) -> None:
    (artifact / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BadCheckpoint, match=r"file-extra.*pytorch_model\.bin"):
        check(artifact, load(artifact))


def test_a_manifest_edited_to_fit_altered_bytes_contradicts_its_own_digest(artifact: Path) -> None:
    text = (artifact / NAME).read_text()
    sha = describe(artifact).files["config.json"].sha256
    (artifact / NAME).write_text(text.replace(sha, "0" * 64))
    with pytest.raises(BadCheckpoint, match="manifest-digest"):
        load(artifact)


def test_links_and_folders_are_no_part_of_an_artifact(artifact: Path) -> None:
    (artifact / "link.json").symlink_to("/etc/hostname")
    with pytest.raises(BadCheckpoint, match="not-a-file"):
        describe(artifact)
