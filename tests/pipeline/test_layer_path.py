"""A candidate with more layers than its parents, through merge, gate and eval."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from stages.conf import Request
from stages.core.errors import BadRequest
from stages.core.records import evidence
from stages.core.records import lineage as lineages
from stages.core.records.canonical import Json, read_json, write_json
from stages.core.sandbox.levels import Isolation
from stages.core.sandbox.limits import Limits
from stages.core.scoring.model import ResidentModel
from stages.core.weights.reader import Checkpoint
from stages.eval import stage as eval_stage
from stages.eval.workers import Workers
from stages.gate import stage as gate_stage
from stages.merge import rebuild
from stages.merge.build import Workshop, acquire
from stages.merge.stage import run as merge_stage
from stages.merge.store import Store
from tests.architecture.tree import ROOT
from tests.core.scoring.tiny import change, tiny
from tests.eval.toy import FORMS, PARENTS, SUITE

PASSED: Json = {"passed": True, "findings": []}
PATH = "1:0-2 2:0-2"
SWAPPED = "1:1 2:0"
MATRIX = "model.layers.1.mlp.up_proj.weight"


def ignore(done: int, rejected: int, total: int) -> None:
    del done, rejected, total


def request_for(path: str, *search: str) -> Request:
    """One path of layers and those searched; lenient about perplexity, since the models are noise."""
    policy = yaml.safe_load((ROOT / "conf/policy/default.yaml").read_text())
    policy["gate"] |= {"perplexity_ratio": 1000, "norm_ratio": 1.2, "outlier_ratio": 1.2, "smoke_items": 2}
    limits = {"wall_seconds": 60, "cpu_seconds": 60, "memory_bytes": 1 << 31}
    method = {"version": 1, "source": "arXiv 2312.15166", "path": {"value": path, "search": search or None}}
    return Request.model_validate(
        {
            "experiment": {"id": "tiny", "title": "Tiny", "question": "Does a deeper candidate go through?"},
            "parents": PARENTS.model_dump(),
            "method": {"layer_path": method},
            "budget": {"candidates": 3},
            "policy": policy,
            "isolation": {"level": "L2", "minimum": "L2", **limits},
            "suite": SUITE.model_dump(),
            "executor": {"workers": 1},
            "seed": 1,
        }
    )


class Laboratory:
    """The data folder of a run over three models of two layers."""

    def __init__(self, root: Path, request: Request, *, second_layer: float = 1.0, **changed: Json) -> None:
        """second_layer: factor of one matrix there. changed: keys of the configuration, by model."""
        self.request, self.data = request, root / "data"
        for seed, name in enumerate(("base", "a", "b")):
            folder = tiny(self.data / "parents" / name, seed, **changed.get(name, {}))
            change(folder, MATRIX, load_file(folder / "model.safetensors")[MATRIX] * second_layer)
            write_json(folder / "card.json", {"id": name, "licence": {"weights": "Apache-2.0", "data": []}})
        self.parents = self.data / "parents"
        self.candidates = self.data / "candidates"
        self.workshop = Workshop(
            family=tuple(
                acquire(self.parents / name, name, role)
                for name, role in (("base", "base"), ("a", "parent"), ("b", "parent"))
            ),
            isolation=Isolation("L2", "L2"),
            limits=Limits(wall_seconds=60, cpu_seconds=60),
            environment={"constraints_sha256": "0" * 64, "python": "3", "torch": "2"},
        )

    def merge(self) -> Json:
        """index.json of the candidates."""
        store = Store(self.data / "store")
        merge_stage(self.request, self.workshop, PASSED, store=store, output=self.candidates, report=ignore)
        return read_json(self.candidates / "index.json")

    def gate(self) -> dict[str, Any]:
        """Candidate → check → finding."""
        names = ("parents", "candidates", "gates.json", "run.json")
        places = gate_stage.Places(*(self.data / name for name in names))
        gate_stage.run(SUITE, PARENTS, self.request.policy.gate, places, ignore)
        verdicts = read_json(places.gates)["candidates"]
        return {
            name: {finding["rule"]: finding for finding in verdict["findings"]}
            for name, verdict in verdicts.items()
        }

    def evaluate(self) -> Path:
        """The folder of the evidence."""
        places = eval_stage.Places(
            parents=self.parents,
            candidates=self.candidates,
            gates=self.data / "gates.json",
            forms=FORMS,
            ledger=self.data / "looks.json",
            store=self.data / "evidence-store",
            cases=self.data / "cases",
            evidence=self.data / "evidence",
            record=self.data / "run.json",
        )
        eval_stage.run(SUITE, PARENTS, places, Workers(), ignore)
        return places.evidence


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    """One deeper candidate, and one in which both layers have moved."""
    return Laboratory(tmp_path, request_for(PATH, PATH, SWAPPED))


def by_path(index: Json) -> dict[str, str]:
    return {entry["parameters"]["path"]: entry["id"] for entry in index["candidates"]}


def test_a_deeper_candidate_goes_through_merge_gate_and_eval(laboratory: Laboratory) -> None:
    names = by_path(laboratory.merge())
    assert sorted(names) == [PATH, SWAPPED]
    deeper = laboratory.candidates / names[PATH]
    assert read_json(deeper / "config.json")["num_hidden_layers"] == 4
    findings = laboratory.gate()
    for name in names.values():
        assert [rule for rule, finding in findings[name].items() if not finding["passed"]] == []
    assert findings[names[PATH]]["loads"]["message"].endswith("but for the number of layers")
    index = laboratory.evaluate()
    assert set(names.values()) <= set(read_json(index / "index.json")["subjects"])
    for name in names.values():
        found = evidence.load(index / f"{name}.json")
        assert {len(task.correct) for task in found.results["hidden"].values()} == {6}


def test_the_evidence_of_a_deeper_candidate_is_that_of_its_own_model(laboratory: Laboratory) -> None:
    names = by_path(laboratory.merge())
    laboratory.gate()
    found = evidence.load(laboratory.evaluate() / f"{names[PATH]}.json").results["search"]
    resident = ResidentModel(laboratory.candidates / names[PATH])
    resident.swap(Checkpoint(laboratory.candidates / names[PATH]))
    for task, answers in found.items():
        cases = [
            json.loads(line)
            for line in (laboratory.data / f"cases/search/{task}.jsonl").read_text().splitlines()
        ]
        own = resident.answer_loglikelihoods([(c["prompt"], c["answer"]) for c in cases])
        assert answers.loglikelihood == pytest.approx([sum(tokens) for tokens in own], abs=2e-3)


def test_a_deeper_candidate_verifies_and_is_rebuilt_from_its_lineage(laboratory: Laboratory) -> None:
    for name in by_path(laboratory.merge()).values():
        assert rebuild.verify(laboratory.candidates, name, laboratory.workshop).differing == []


def test_the_gate_holds_a_moved_tensor_against_the_one_that_it_was_made_of(tmp_path: Path) -> None:
    """In both parents layer 1 is three times as large; where the path puts it first, that is no excess."""
    laboratory = Laboratory(tmp_path, request_for(SWAPPED), second_layer=3.0)
    (name,) = by_path(laboratory.merge()).values()
    assert laboratory.gate()[name]["norms"]["passed"]
    (laboratory.candidates / name / lineages.NAME).unlink()
    unexplained = laboratory.gate()[name]["norms"]
    assert not unexplained["passed"]
    assert "model.layers.0.mlp.up_proj.weight" in unexplained["evidence"]


def test_a_searched_path_that_leads_nowhere_stops_before_anything_is_made(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path, request_for(PATH, PATH, "1:0-3"))
    with pytest.raises(BadRequest, match=r"path: '1:0-3': parent 1 has 2 layers, 0 to 1"):
        laboratory.merge()
    assert not laboratory.candidates.exists()


def test_parents_whose_settings_cannot_share_a_stack_give_a_reason_and_no_candidate(tmp_path: Path) -> None:
    laboratory = Laboratory(tmp_path, request_for(PATH), b={"rms_norm_eps": 0.5})
    index = laboratory.merge()
    assert index["candidates"] == []
    assert "rms_norm_eps: 0.5 in parent 2" in index["unmergeable"][0]["reason"]
