"""SECURITY.md tells the truth: every threat has a control and a test, and every test it names exists."""

import ast
import re

import pytest

from tests.architecture.tree import ROOT

TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| threat |"))
]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
NAMED = sorted(set(TEST.findall(TEXT)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_threat_has_a_control_and_a_test(row: list[str]) -> None:
    threat, control, tests = row
    assert threat
    assert control
    assert TEST.findall(tests), f"{threat}: no test named"


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_file_it_points_to_exists() -> None:
    paths = re.findall(r"`((?:tests|stages|conf|docs)/[\w/.-]+)", TEXT)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_it_says_what_is_not_covered_and_how_to_report() -> None:
    sections = re.findall(r"^## (.+)$", TEXT, flags=re.MULTILINE)
    assert sections == ["Threats, controls, tests", "Not covered", "Reporting"]
    for words in ("Bugs of the kernel", "Side channels", "backdoor", "GPU drivers"):
        assert words in TEXT.split("## Not covered")[1]
    assert len(ROWS) >= 30
