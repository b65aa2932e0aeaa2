from pathlib import Path

import pytest
import torch

from stages.core.records.costs import Costs, band, of_json
from stages.core.scoring import latency
from stages.core.scoring.latency import Samples, measure, summary
from stages.core.scoring.model import ResidentModel
from stages.core.weights.reader import Checkpoint
from tests.core.scoring.tiny import tiny


def test_a_ratio_is_the_median_over_rounds_of_quotients_within_a_round() -> None:
    # the machine is ten times slower in the third round: for both, so that no ratio shows it
    first = Samples((1.0, 2.0, 30.0), (1.0, 1.0, 10.0))
    twice = Samples((2.0, 4.0, 60.0), (3.0, 1.0, 20.0))
    found = summary({"first": first, "twice": twice})
    assert found["first"]["prefill"]["ratio"] == found["first"]["token"]["ratio"] == 1.0
    assert found["twice"]["prefill"]["ratio"] == 2.0
    assert found["twice"]["token"]["ratio"] == 2.0  # of 3, 1 and 2
    assert found["twice"]["token"]["p50"] == 3.0
    assert found["twice"]["token"]["p95"] == pytest.approx(3 + 0.9 * 17)  # nine tenths from 3.0 to 20.0


def test_subjects_take_turns_and_a_first_round_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "ROUNDS", 2)
    model = ResidentModel(tiny(tmp_path / "m", 1))
    model.swap(Checkpoint(tmp_path / "m"))
    called: list[int] = []
    real = latency._one

    def one(module: torch.nn.Module, prompt: int) -> tuple[float, float]:
        called.append(prompt)
        return real(module, prompt)

    monkeypatch.setattr(latency, "_one", one)
    found = measure({"one": [model.module], "two": [model.module, model.module]}, 20)
    assert called == [12] * 9, "three rounds of one and two models, prompts of what the context leaves"
    assert {name: (len(one.prefill), len(one.token)) for name, one in found.items()} == {
        "one": (2, 2),
        "two": (2, 2),
    }


def test_a_slow_subject_ends_the_rounds_early_but_never_under_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "BUDGET_SECONDS", 0.0)
    monkeypatch.setattr(latency, "_one", lambda module, prompt: (1.0, 1.0))
    assert measure({"one": [torch.nn.Linear(1, 1)]}, 100)["one"].token == (1.0,) * latency.LEAST


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.7, "<1"), (1.0, "1.0"), (1.0001, "≤1.25"), (1.25, "≤1.25"), (2, "≤2"), (9, ">4")]
)
def test_a_ratio_lies_in_the_first_band_that_holds_it(ratio: float, text: str) -> None:
    assert band(ratio) == text


def test_costs_are_read_as_they_were_written_and_the_band_follows_from_the_ratio() -> None:
    costs = Costs(1.4, 2, 10, 20, 28, 1.4, 2.0)
    assert of_json(costs.to_json()) == costs
    assert costs.to_json()["latency_ratio"] == "≤1.5"
