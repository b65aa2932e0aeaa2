"""Levels that this machine reaches; the others are skipped by name, with the reason, never silently."""

import pytest

from stages.core.sandbox import levels


@pytest.fixture(params=["L2", "L3"])
def level(request: pytest.FixtureRequest) -> str:
    """Each strong level in turn."""
    obstacle = levels.obstacles(request.param)
    if obstacle:
        pytest.skip(f"{request.param} cannot be had here: {obstacle}")
    return str(request.param)
