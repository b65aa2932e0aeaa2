"""Weights are measured by disposable workers: what they answer, and what they may not do."""

import json
from pathlib import Path

import pytest

from stages.conf import IsolationSection
from stages.core.errors import LabError
from stages.core.sandbox import jobs
from stages.eligibility.measured import head_dim, measure, worker
from stages.eligibility.rules import judge
from tests.eligibility import pico
from tests.eligibility.family import policy

COPY = {"copy": [("copy: abc>", "abc\n")]}
SECTION = IsolationSection(wall_seconds=300, cpu_seconds=300, memory_bytes=4 << 30)


def test_a_worker_answers_as_this_process_would_and_proves_its_isolation(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, measured=False)
    ask = worker(SECTION, [tmp_path / parent.id for parent in facts.family])
    asked = measure(policy(), COPY, tmp_path, facts.family, ask)
    known = measure(policy(), COPY, tmp_path, facts.family, pico.here)
    assert asked.survey == json.loads(json.dumps(known.survey))
    assert asked.isolation["survey"]["level"] in ("L3", "L2")
    assert set(asked.isolation["survey"]) == {"level", "degraded", "probes", "sha256"}


def test_a_worker_runs_the_means_of_the_models(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, measured=False)
    limits = policy(barrier_nats=0.5, probe_items=1)
    ask = worker(SECTION, [tmp_path / parent.id for parent in facts.family])
    found = measure(limits, COPY | {"sort": [("sort: ba>", "ab\n")]}, tmp_path, facts.family, ask)
    assert found.problem is None
    assert set(found.losses["ends"]) == {"pico-base", "pico-a", "pico-b"}
    assert set(found.isolation) == {"survey", "interpolate"}


def test_a_parent_that_the_worker_may_not_read_is_no_answer_and_no_path_leaks(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, measured=False)
    ask = worker(SECTION, [tmp_path / "pico-base", tmp_path / "pico-a"])
    found = measure(policy(), COPY, tmp_path, facts.family, ask)
    assert found.survey is None
    assert found.problem is not None
    assert "pico-b" in found.problem
    assert str(tmp_path) not in found.problem


def test_a_survey_is_kept_where_the_probe_gives_no_answer(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, measured=False)
    found = measure(policy(barrier_nats=0.5), {"long": [("a" * 300, "b")]}, tmp_path, facts.family, pico.here)
    assert found.survey is not None
    assert found.losses is None
    assert found.problem is not None
    assert "the context 256" in found.problem


def test_the_order_of_the_parents_changes_no_number_of_one_parent(tmp_path: Path) -> None:
    facts = pico.family(tmp_path, measured=False)
    base, one, two = facts.family
    first = measure(policy(), {}, tmp_path, [base, one, two], pico.here).survey
    second = measure(policy(), {}, tmp_path, [base, two, one], pico.here).survey
    assert first["parents"]["pico-a"] == second["parents"]["pico-a"]
    assert judge(facts).passed is False  # nobody measured these facts


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"num_attention_heads": 4, "hidden_size": 128}, 32),
        ({"num_attention_heads": 4, "hidden_size": 128, "head_dim": 64}, 64),
        ({"hidden_size": 128}, None),
        ({"head_dim": "x", "num_attention_heads": 2, "hidden_size": 8}, None),
    ],
)
def test_the_size_of_a_head_is_read_off_the_configuration(
    config: dict[str, object], size: int | None
) -> None:
    assert head_dim(config) == size


def test_a_job_of_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(LabError, match=r"no job of kind 'sing' .*interpolate"):
        jobs.find("sing")
