"""107 attempts at each level, as root and as an ordinary user: a new "open" fails (verdicts.py)."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.core.sandbox import levels, runtime
from tests.conftest import ORDINARY_USER
from tests.core.sandbox import attacks
from tests.core.sandbox.verdicts import COLUMNS, expected, open_to

HERE = Path(__file__).resolve().parent
EXISTENCE = {"stat_hidden", "handle_of_hidden"}  # all that the table leaves open at L2
PROMISING = ("L2", "L3")
SYSTEM_PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")


def opened(folder: Path, level: str, *, user: int | None = None, landlock_abi: int | None = None) -> set[str]:
    """The attempts that succeeded, all made by one worker."""
    command = [str(python_for(user)), str(HERE / "scene.py"), str(folder / "scene"), level]
    if landlock_abi is not None:
        command.append(str(landlock_abi))
    done = subprocess.run(
        command,
        env={
            "PYTHONPATH": ":".join([str(HERE.parents[2]), *runtime.site_folders()]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        check=False,
        cwd="/",
        timeout=120,
        **({} if user is None else {"user": user, "group": user, "extra_groups": []}),
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    verdicts: Mapping[str, str] = json.loads(done.stdout)
    assert len(verdicts) == 107
    return {name for name, verdict in verdicts.items() if verdict == "open"}


def python_for(user: int | None) -> Path:
    if user is None:
        return Path(sys.executable)
    for place in (HERE, *map(Path, runtime.site_folders())):
        if not _reachable(place):
            pytest.skip(f"user {user} cannot reach {place}: clone the repository where others may read")
    own = Path(sys.executable).resolve()
    if _reachable(own):
        return own
    if SYSTEM_PYTHON.exists():
        return SYSTEM_PYTHON
    pytest.skip(f"user {user} cannot reach {own}, and there is no {SYSTEM_PYTHON}")


def _reachable(path: Path) -> bool:
    """Whether any user may go down to `path`."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


@pytest.fixture(params=COLUMNS)
def any_level(request: pytest.FixtureRequest) -> str:
    """Each level in turn; one that this machine does not reach is skipped by name, with the reason."""
    obstacle = levels.obstacles(request.param)
    if obstacle:
        pytest.skip(f"{request.param} cannot be had here: {obstacle}")
    return str(request.param)


def check(found: set[str], level: str, who: str) -> None:
    """What is open is what the table says; at levels that promise nothing, a kernel may deny more."""
    wanted = open_to(level, who)
    assert found - wanted == set(), f"new at {level} for {who}"
    if level in PROMISING:
        assert found == wanted


def without_landlock(level: str) -> int | None:
    return 0 if level == "L1" else None


def test_only_the_listed_attempts_succeed(tmp_path: Path, any_level: str) -> None:
    who = "root" if os.getuid() == 0 else "user"
    check(opened(tmp_path, any_level, landlock_abi=without_landlock(any_level)), any_level, who)


def test_only_the_listed_attempts_of_an_ordinary_user_succeed(users_folder: Path, any_level: str) -> None:
    found = opened(users_folder, any_level, user=ORDINARY_USER, landlock_abi=without_landlock(any_level))
    check(found, any_level, "user")


def test_the_table_has_a_row_for_every_attempt_and_promises_what_the_decision_says() -> None:
    assert list(expected()) == list(attacks.ATTACKS)
    assert open_to("L3", "root") == open_to("L3", "user") == set()
    assert open_to("L2", "root") == open_to("L2", "user") == EXISTENCE


@pytest.mark.parametrize("abi", [1, 2, 3, 4, 5, 6])
def test_older_kernels_open_nothing_more(tmp_path: Path, abi: int) -> None:
    obstacle = levels.obstacles("L2")
    if obstacle:
        pytest.skip(f"L2 cannot be had here: {obstacle}")
    assert opened(tmp_path, "L2", landlock_abi=abi) == EXISTENCE


def test_without_any_lock_most_attempts_succeed_so_the_table_is_not_empty_talk(tmp_path: Path) -> None:
    assert len(opened(tmp_path, "L0")) > 60  # 98 of 107 as root on Linux 6.18


def test_without_landlock_the_filter_still_closes_network_processes_and_kernel(tmp_path: Path) -> None:
    if levels.obstacles("L1"):
        pytest.skip("L1 cannot be had here")
    found = opened(tmp_path, "L1", landlock_abi=0)
    assert {"read_hidden", "write_input", "delete_input"} <= found
    assert not found & {"connect_tcp", "unix_socket_abstract", "fork", "execute", "signal_the_parent", "bpf"}
