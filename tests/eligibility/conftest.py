"""The family that passes."""

from pathlib import Path

import pytest

from stages.eligibility.facts import Facts
from tests.eligibility.family import family


@pytest.fixture
def passing(tmp_path: Path) -> Facts:
    """A base and two parents that pass every rule."""
    return family(tmp_path, {})
