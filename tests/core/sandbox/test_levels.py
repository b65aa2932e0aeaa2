"""Which level a request gets, and what it is told when it gets none."""

import os
from pathlib import Path

import pytest
import yaml

from stages.core.errors import NotIsolated
from stages.core.sandbox import landlock, levels, runtime, syscalls
from stages.core.sandbox.launch import Limits
from stages.core.sandbox.levels import Isolation, choose

CONF = Path(__file__).resolve().parents[3] / "conf" / "isolation"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that reaches every level, until a test takes something away."""
    for name in ("_no_table", "_no_landlock", "_no_seccomp", "_no_bubblewrap"):
        monkeypatch.setattr(levels, name, lambda: "")
    monkeypatch.setattr(landlock, "abi", lambda: 7)
    return monkeypatch


def test_auto_takes_the_best_level(machine: pytest.MonkeyPatch) -> None:
    assert choose(Isolation()) == "L3"
    machine.setattr(levels, "_no_bubblewrap", lambda: "bubblewrap: ENOENT (2) at /usr/bin/bwrap")
    assert choose(Isolation()) == "L2"


def test_auto_never_goes_below_the_minimum_and_says_what_it_tried(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(levels, "_no_landlock", lambda: "Landlock: ENOSYS (38) from landlock_create_ruleset")
    with pytest.raises(NotIsolated) as caught:
        choose(Isolation())
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "L3: Landlock: ENOSYS (38)",
        "L2: Landlock",
        "isolation.minimum=L2",
        "lower isolation.level",
    ):
        assert part in message


def test_a_lower_minimum_reaches_the_degraded_levels(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(levels, "_no_landlock", lambda: "Landlock: EOPNOTSUPP (95)")
    assert choose(Isolation(minimum="L1")) == "L1"
    machine.setattr(levels, "_no_table", lambda: "no table")
    assert choose(Isolation(minimum="L0")) == "L0"
    assert [levels.degraded(level) for level in levels.LEVELS] == [True, True, False, False]


def test_a_level_below_the_minimum_is_a_contradiction_not_a_wish(machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotIsolated, match=r"level=L1 with isolation.minimum=L2 .* L1: below the minimum"):
        choose(Isolation("L1"))


def test_before_abi_3_a_writable_folder_needs_bubblewrap(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(landlock, "abi", lambda: 2)
    assert choose(Isolation("L2")) == "L2"
    assert choose(Isolation(), creates_files=True) == "L3"
    with pytest.raises(NotIsolated, match="L2: Landlock ABI 2 cannot watch truncation"):
        choose(Isolation("L2"), creates_files=True)


def test_an_unknown_architecture_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*name[:4], "riscv64")))
    with pytest.raises(NotIsolated, match=r"linux/riscv64: ENOSYS \(38\)"):
        syscalls.architecture()


def test_without_bubblewrap_the_obstacle_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_bubblewrap_program", lambda: None)
    assert levels._no_bubblewrap.__wrapped__() == "bubblewrap: ENOENT (2) at /usr/bin/bwrap"


def test_a_bubblewrap_that_fails_is_no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_bubblewrap_program", lambda: Path("/bin/false"))
    assert levels._no_bubblewrap.__wrapped__() == "bubblewrap: it ended with status 1"


def test_a_worker_reads_packages_and_libraries_but_not_the_repository() -> None:
    root = runtime.code_root()
    inside = [path for path in runtime.paths() if path.is_relative_to(root) and ".venv" not in path.parts]
    assert inside == [root / "stages"]


@pytest.mark.parametrize("name", ["auto", "bubblewrap", "lock", "degraded"])
def test_the_configurations_hold_levels_and_limits_and_nothing_else(name: str) -> None:
    tree = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    limits = set(Limits.__dataclass_fields__)
    assert set(tree) - {"defaults", "level", "minimum"} <= limits
    assert tree.get("level", "auto") in ("auto", *levels.LEVELS)
    assert tree.get("minimum", "L2") in levels.LEVELS
