"""What holds for every test, whoever starts them."""

import signal
from collections.abc import Iterator

import pytest

from stages.core.sandbox import levels


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
