"""Routers, cascades and bounds beside merges: who may win, and who is on no front."""

from pathlib import Path

import pytest

from stages.core.records.canonical import read_json, write_json
from stages.core.records.evidence import KINDS
from stages.pareto.report.marks import MARKS
from stages.pareto.study import load
from stages.pareto.trial import Trial, trial
from tests.pareto.laboratory import BASELINES, EXPERIMENT, build, policy, skill

BEST = skill(0.98, 0.98)
SERVED = {"router": ("router", 1, BEST), "cascade": ("cascade", 1.5, skill(0.97, 0.95))}
ORACLE = {"router-oracle": ("bound", 1, skill(0.995, 0.995))}


def judged(data: Path, extra: dict[str, tuple[str, float, dict[str, float]]]) -> Trial:
    everybody = {**BASELINES, **extra}
    build(data, baselines=everybody)
    for name in (name for name, (kind, *_) in everybody.items() if kind not in ("base", "parent")):
        path = data / "evidence" / f"{name}.json"
        tree = read_json(path)
        write_json(path, tree | {"subject": tree["subject"] | {"models": 2}})
    return trial(load(data, EXPERIMENT), policy(front={"bootstrap": 200}))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return judged(tmp_path_factory.mktemp("plain"), {})


def test_a_router_that_recovers_most_is_the_best_ensemble_and_dominates_no_merge(
    plain: Trial, tmp_path: Path
) -> None:
    found = judged(tmp_path, SERVED)
    assert plain.ensemble == "ensemble-weighted"
    assert found.ensemble == "router"
    assert {"router", "cascade"} <= found.checks.keys() & found.non_dominated.keys()
    merges = found.study.of_kind("candidate")
    shares = [{name: one.non_dominated.get(name) for name in merges} for one in (plain, found)]
    assert shares[0] == shares[1], "it keeps two models in memory"
    assert found.non_dominated["ensemble-weighted"] < plain.non_dominated["ensemble-weighted"]


def test_a_bound_is_on_no_front_and_never_the_best(plain: Trial, tmp_path: Path) -> None:
    found = judged(tmp_path, ORACLE)
    assert found.measures.standings.keys() - plain.measures.standings.keys() == ORACLE.keys()
    assert found.ensemble == plain.ensemble
    assert found.non_dominated == plain.non_dominated
    assert found.checks.keys() == plain.checks.keys()


def test_every_kind_of_baseline_has_a_mark_of_its_own() -> None:
    shapes = {mark.status: mark.shape for mark in MARKS}
    kinds = [kind for kind in KINDS if kind != "candidate"]
    assert len({shapes[kind] for kind in kinds}) == len(kinds)
