"""Statistics are measured once for the same parents, and are part of nobody else's merge."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.weights import engine, statistics, writer
from stages.core.weights.kernels import ready
from stages.core.weights.kernels.fast import Fast
from stages.core.weights.statistics import Known
from tests.core.weights.family import LABELS, Family, family, planned, recipe

CASES: list[tuple[str, dict[str, Any]]] = [
    ("slerp", {"t": 0.3}),
    ("karcher", {}),
    ("model_stock", {}),
    ("ties", {"density": 0.3}),
    ("breadcrumbs", {"density": 0.3, "gamma": 0.05}),
    ("dare_linear", {"rescale": "l1"}),
    ("dare_ties", {"rescale": "l1"}),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family(tmp_path_factory.mktemp("family"), torch.bfloat16, parents=3)


def merge(made: Family, wanted: Any, output: Path, **options: Any) -> dict[str, str]:
    plan = planned(made, wanted)
    writer.preallocate(plan, output)
    return dict(engine.execute(plan, made.sources, made.manifests, output, **options).files)


@pytest.mark.parametrize(("method", "options"), CASES)
@pytest.mark.parametrize("coded", [False, True])
def test_a_second_merge_measures_nothing_and_writes_the_same_bytes(
    made: Family, tmp_path: Path, method: str, options: dict[str, Any], coded: bool
) -> None:
    wanted, first = recipe(method, **options), Known()
    plan = planned(made, wanted)
    backend = Fast(plan, ready.ensure(plan) or Path()) if coded else None
    files = merge(made, wanted, tmp_path / "first", known=first, backend=backend)
    assert {subject: list(entries) for subject, entries in first.found.items()} == {
        subject: list(dict.fromkeys(entries)) for subject, entries in statistics.wanted(plan).items()
    }
    second = Known(first.found)
    assert merge(made, wanted, tmp_path / "second", known=second) == files
    assert second.found == {}


def test_what_is_known_of_one_parent_serves_in_other_company(made: Family, tmp_path: Path) -> None:
    first, second = Known(), Known()
    merge(made, recipe("ties", density=0.3), tmp_path / "two", known=first)
    three = recipe("ties", parents=3, density=0.3)
    files = merge(made, three, tmp_path / "three", known=second)
    again = Known(first.found)
    assert merge(made, three, tmp_path / "again", known=again) == files
    subjects = [subject for subject in second.found if subject.endswith(LABELS[3])]
    assert len(subjects) == 1
    assert second.found.keys() > first.found.keys()


@pytest.mark.parametrize(
    ("method", "options", "other"),
    [
        ("ties", {"density": 0.3}, {"density": 0.31}),
        ("dare_linear", {"rescale": "l1", "drop": 0.3}, {"rescale": "l1", "drop": 0.4}),
        ("breadcrumbs", {"gamma": 0.05}, {"gamma": 0.1}),
    ],
)
def test_another_argument_is_another_statistic(
    made: Family, tmp_path: Path, method: str, options: dict[str, Any], other: dict[str, Any]
) -> None:
    first = Known()
    merge(made, recipe(method, **options), tmp_path / "first", known=first)
    alone = merge(made, recipe(method, **other), tmp_path / "alone")
    assert merge(made, recipe(method, **other), tmp_path / "second", known=Known(first.found)) == alone


def test_masks_of_another_seed_are_other_statistics(made: Family, tmp_path: Path) -> None:
    first = Known()
    merge(made, recipe("dare_linear", rescale="l1"), tmp_path / "first", known=first)
    other = recipe("dare_linear", rescale="l1", seed=6)
    alone = merge(made, other, tmp_path / "alone")
    assert merge(made, other, tmp_path / "second", known=Known(first.found)) == alone


def test_weights_and_deltas_of_the_same_parents_are_told_apart(made: Family, tmp_path: Path) -> None:
    first = Known()
    merge(made, recipe("slerp"), tmp_path / "first", known=first)
    alone = merge(made, recipe("task_slerp", opposite="chord"), tmp_path / "alone")
    known = Known(first.found)
    assert merge(made, recipe("task_slerp", opposite="chord"), tmp_path / "second", known=known) == alone
