"""What the command line and a stage say where a disk takes no more."""

import errno
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stages import cli
from stages.core.entry import NO_PLACE, enter


@pytest.mark.parametrize("code", NO_PLACE)
def test_the_command_line_names_place_error_and_next_move(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise OSError(code, "It does not go", "/somewhere/file")

    monkeypatch.setattr(cli, "repository", fail)
    done = CliRunner().invoke(cli.app, ["report"])
    assert done.exit_code == 1
    assert f"It does not go ({errno.errorcode[code]}) at /somewhere/file. Nothing is half" in done.stderr
    assert NO_PLACE[code] in done.stderr


def test_another_error_of_the_system_is_not_taken_for_a_full_disk() -> None:
    def fail() -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        enter("merge", fail)
