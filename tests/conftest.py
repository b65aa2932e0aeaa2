"""What holds for every test, whoever starts them."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core.sandbox import levels

ORDINARY_USER = 65534


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, here and in the processes started here: a shell's background jobs inherit it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=["L2", "L3"])
def level(request: pytest.FixtureRequest) -> str:
    """Each strong level in turn; one that this machine does not reach is skipped by name, with the reason."""
    obstacle = levels.obstacles(request.param)
    if obstacle:
        pytest.skip(f"{request.param} cannot be had here: {obstacle}")
    return str(request.param)


@pytest.fixture
def users_folder() -> Iterator[Path]:
    """A folder that the ordinary user owns and can reach: pytest's own are closed to others."""
    if os.getuid() != 0:
        pytest.skip("these tests already run as an ordinary user")
    with tempfile.TemporaryDirectory(prefix="mergelab-user-") as name:
        os.chown(name, ORDINARY_USER, ORDINARY_USER)
        yield Path(name)
