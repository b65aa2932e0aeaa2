import math
from pathlib import Path

import pytest
import torch

from stages.core.errors import LabError
from stages.core.scoring.engine import Ask, Mode, Network, Speech, Stop, replies
from stages.core.scoring.ensemble import Mixture, fit_weights, simplex_grid
from stages.core.scoring.identity import LOGIT
from stages.core.scoring.model import ResidentModel, load_tokenizer
from stages.core.weights.reader import Checkpoint
from tests.core.scoring.tiny import tiny

TOKENS = torch.arange(3, 43).reshape(2, 20)


@pytest.fixture
def members(tmp_path: Path) -> list[torch.nn.Module]:
    residents = [ResidentModel(tiny(tmp_path / str(seed), seed)) for seed in (1, 2)]
    for seed, resident in zip((1, 2), residents, strict=True):
        resident.swap(Checkpoint(tmp_path / str(seed)))
    return [resident.module for resident in residents]


def log_probabilities(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(module(TOKENS).logits, dim=-1)


def test_an_ensemble_of_two_equal_models_is_that_model(members: list[torch.nn.Module]) -> None:
    ensemble = Mixture([members[0], members[0]], [0.3, 0.7])
    torch.testing.assert_close(log_probabilities(ensemble), log_probabilities(members[0]), atol=1e-5, rtol=0)


def test_an_ensemble_averages_probabilities_with_its_weights(members: list[torch.nn.Module]) -> None:
    first, second = (log_probabilities(member).double().exp() for member in members)
    expected = 0.25 * first + 0.75 * second
    found = log_probabilities(Mixture(members, [0.25, 0.75])).double().exp()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_member_of_weight_zero_is_never_run(members: list[torch.nn.Module]) -> None:
    class Never(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            raise AssertionError("a member without weight was run")

    ensemble = Mixture([Never(), members[1]], [0.0, 1.0])
    torch.testing.assert_close(log_probabilities(ensemble), log_probabilities(members[1]), atol=1e-5, rtol=0)


def test_an_ensemble_that_goes_on_from_its_members_caches_answers_as_one_that_does_not(
    members: list[torch.nn.Module], tmp_path: Path
) -> None:
    ensemble = Mixture(members, [0.3, 0.7], LOGIT)
    asks = [Ask(tuple(range(5, end)), ((7, 8), (9,)), Stop(("!",), 6)) for end in (9, 12, 30, 31)]
    speech = Speech(load_tokenizer(tmp_path / "1"), frozenset(), None)
    plain, cached = (replies(Network(ensemble, mode, 256), asks, speech) for mode in (Mode.PLAIN, Mode.GAPS))
    for ours, theirs in zip(cached, plain, strict=True):
        assert ours.said is not None
        assert theirs.said is not None
        assert ours.said.text == theirs.said.text
        for a, b in zip(ours.scored, theirs.scored, strict=True):
            assert a.nats == pytest.approx(b.nats, abs=1e-4)


def test_a_logit_ensemble_is_the_normalised_geometric_mean_of_probabilities(
    members: list[torch.nn.Module],
) -> None:
    first, second = (log_probabilities(member).double().exp() for member in members)
    product = first**0.25 * second**0.75
    expected = product / product.sum(dim=-1, keepdim=True)
    with torch.no_grad():
        found = Mixture(members, [0.25, 0.75], LOGIT)(TOKENS).logits.double().exp()  # normalised as they are
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_rule_that_does_not_exist_is_refused(members: list[torch.nn.Module]) -> None:
    with pytest.raises(LabError, match="no rule 'median' to mix models by"):
        Mixture(members, [0.5, 0.5], "median")


@pytest.mark.parametrize("weights", [[0.5, 0.4], [1.5, -0.5], [1.0]])
def test_weights_that_are_no_shares_are_refused(members: list[torch.nn.Module], weights: list[float]) -> None:
    with pytest.raises(LabError, match="as many weights ≥ 0 of sum 1"):
        Mixture(members, weights)


@pytest.mark.parametrize(("members", "points"), [(1, 1), (2, 21), (3, 231), (4, 286), (5, 70), (16, 136)])
def test_the_grid_covers_the_simplex_with_at_most_500_points(members: int, points: int) -> None:
    grid = list(simplex_grid(members))
    assert len(grid) == len(set(grid)) == points
    assert all(math.isclose(sum(weights), 1) and min(weights) >= 0 for weights in grid)


def test_weights_are_fitted_to_the_best_mixture_token_by_token() -> None:
    # two tokens, each likely under one member alone: the mean of logs is highest at one half each
    sure, unsure = math.log(0.9), math.log(0.1)
    assert fit_weights([[[sure, unsure]], [[unsure, sure]]]) == (0.5, 0.5)
    # three of four tokens favour the first: 3 ln(.1 + .8w) + ln(.9 − .8w) is highest at w = 2.6/3.2 = .8125
    weights = fit_weights([[[sure, sure], [sure, unsure]], [[unsure, unsure], [unsure, sure]]])
    assert weights == (0.8, 0.2)


def test_a_member_that_is_always_worse_gets_no_weight() -> None:
    assert fit_weights([[[math.log(0.2)]], [[math.log(0.6)]]]) == (0.0, 1.0)


def test_equal_members_share_equally() -> None:
    assert fit_weights([[[-1.0]], [[-1.0]]]) == (0.5, 0.5)
