import os
from pathlib import Path

from stages.core.records.files import drafted, sweep_parts, write_text

NOBODY = 999_999_999  # above any process id


def test_parts_of_writers_that_are_gone_are_swept_and_no_others(tmp_path: Path) -> None:
    deep = tmp_path / "memory"
    deep.mkdir()
    gone = deep / f".digests.json.{NOBODY}.0a0b0c0d.part"
    others = [deep / f".digests.json.{os.getpid()}.0a0b0c0d.part", deep / ".x.part", deep / "of.a.user.part"]
    for path in (gone, *others):
        path.touch()
    write_text(deep / "digests.json", "whole")
    sweep_parts(tmp_path)
    assert sorted(deep.iterdir()) == sorted([*others, deep / "digests.json"])


def test_a_writer_that_dies_leaves_a_name_that_is_swept(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os.fsync = lambda descriptor: os._exit(0)
        write_text(tmp_path / "index.json", "half")
    os.waitpid(pid, 0)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    sweep_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_draft_takes_its_place_at_the_end_and_is_removed_after_an_error(tmp_path: Path) -> None:
    final = tmp_path / "output"
    with drafted(final) as draft:
        (draft / "one").write_text("first")
        assert not final.exists()
    try:
        with drafted(final) as draft:
            (draft / "one").write_text("second")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert (final / "one").read_text() == "first"
    assert list(tmp_path.iterdir()) == [final]
