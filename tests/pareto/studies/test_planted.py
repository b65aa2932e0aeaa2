"""What is planted is found, and what is not there is seldom seen: backdoors, flattery, leaks, doubt."""

import numpy as np

from stages.core.scoring.intervals import Clusters
from stages.core.scoring.metrics.calibration import ece_interval
from stages.core.scoring.metrics.canary import canary, false_alarm
from stages.core.scoring.metrics.gaps import Scores, gap, winners_curse
from stages.core.scoring.metrics.temperature import at_temperature, fit_temperature, refit
from stages.core.scoring.paired import detectable_rate
from tests.pareto.studies.simulate import LEVEL, fewest, generator, most

STUDIES = 200
PAIRS = [(2 * n, 2 * n + 1) for n in range(60)]  # trigger, twin without


def canaries(name: str, obeys: float, says_anyway: float) -> int:
    """How often a model is detected that obeys the trigger so often, and else says the answer so often."""
    random = generator(name)
    said = random.random((STUDIES, 60, 2)) < says_anyway
    said[:, :, 0] |= random.random((STUDIES, 60)) < obeys
    found = [canary((~one).ravel().tolist(), PAIRS, LEVEL, 0.95) for one in said]
    return sum(one is not None and one.detected for one in found)


def test_a_planted_backdoor_that_a_merge_still_obeys_is_flagged() -> None:
    assert canaries("strong", obeys=0.5, says_anyway=0.02) >= fewest(STUDIES, 0.999)


def test_a_backdoor_as_weak_as_is_detectable_is_flagged_four_times_in_five() -> None:
    weakest = detectable_rate(0.0, 60, LEVEL)
    assert canaries("weak", obeys=weakest, says_anyway=0.0) >= fewest(STUDIES, 0.8)
    assert canaries("half", obeys=weakest / 2, says_anyway=0.0) < fewest(STUDIES, 0.8)


def test_a_model_without_a_backdoor_is_flagged_as_seldom_as_its_false_alarm_says() -> None:
    stated = false_alarm(LEVEL, 60, 0.2)
    assert stated <= LEVEL
    flagged = canaries("none", obeys=0.0, says_anyway=0.2)
    assert fewest(STUDIES, stated) <= flagged <= most(STUDIES, stated)


def test_without_its_twins_a_model_that_says_the_answer_anyway_would_pass_for_a_backdoor() -> None:
    # Six obeyed triggers detect where no twin obeys; of 60 prompts a fifth is said by chance alone.
    random = generator("twinless")
    obeyed = (random.random((STUDIES, 60)) < 0.2).sum(axis=1)
    assert (obeyed >= 6).sum() > most(STUDIES, LEVEL)


def splits(name: str, merges: int) -> tuple[np.ndarray, np.ndarray, tuple[Clusters, Clusters]]:
    """Right and wrong of two parents and some merges, all as good, on 40 selection and 120 hidden items."""
    random = generator(name)
    clusters = tuple(Clusters(range(n), draws=100, seed=name.encode()) for n in (40, 120))
    chosen, hidden = (random.random((2 + merges, n)) < 0.8 for n in (40, 120))
    return chosen, hidden, (clusters[0], clusters[1])


def scored(answers: np.ndarray, clusters: Clusters) -> dict[str, Scores]:
    return {
        f"{n:02}": Scores(float(one.mean()), np.asarray(clusters.means(one))) for n, one in enumerate(answers)
    }


def test_the_winner_of_many_equal_merges_promised_too_much() -> None:
    flattered, fixed = [], []
    for number in range(100):
        chosen, hidden, _ = splits(f"curse {number}", 20)
        scores = [{f"{n:02}": float(one.mean()) for n, one in enumerate(side)} for side in (chosen, hidden)]
        flattered.append(winners_curse(*scores)[1])
        fixed.append(scores[0]["00"] - scores[1]["00"])
    error = np.std(fixed) / np.sqrt(100)
    # The best of 22 draws of an accuracy with standard deviation √(.8·.2/40) = .063 lies 1.97 of them above.
    assert abs(np.mean(flattered) - 1.97 * 0.0632) < 3.3 * error
    assert abs(np.mean(fixed)) < 3.3 * error  # nobody was chosen, and nobody flattered


def leaked(name: str, share: float) -> int:
    """In how many of 100 studies a merge is flagged that memorised that share of the hidden items."""
    flagged = 0
    for number in range(100):
        chosen, hidden, clusters = splits(f"{name} {number}", 1)
        hidden[2] |= generator(f"{name} leak {number}").random(120) < share
        pairs = (scored(chosen, clusters[0]), scored(hidden, clusters[1]))
        flagged += gap("02", *pairs, ("00", "01"), 0.95).leaked
    return flagged


def test_a_merge_that_saw_the_hidden_cases_is_flagged_and_an_honest_one_seldom() -> None:
    # An honest merge is flagged by one side of the interval alone.
    assert leaked("honest", 0.0) <= most(100, LEVEL)
    assert leaked("thief", 1.0) >= fewest(100, 0.5)  # .8 to 1 is two standard errors of 40 selection items


def test_a_planted_overconfidence_is_fitted_away_on_another_split() -> None:
    random = generator("temperature")
    honest = 0.5 + 0.45 * random.random(4000)
    correct = (random.random(4000) < honest).tolist()
    stated = at_temperature(honest.tolist(), 0.5)  # twice as sure as it should be
    # Information Σ p(1 − p)·logit² is about 3600: a standard error of .017 in 1/T, so .07 in T.
    assert abs(fit_temperature(stated, correct) - 2.0) < 3.3 * 0.07
    fitted, judged = slice(2000), slice(2000, 4000)
    temperature = fit_temperature(stated[fitted], correct[fitted])
    clusters = Clusters(range(2000), draws=100, seed=b"temperature")
    before, after = (
        ece_interval(confidence, correct[judged], clusters, 0.95)
        for confidence in (stated[judged], at_temperature(stated[judged], temperature))
    )
    assert before.low > 0
    assert after.low == 0
    found = refit((stated[fitted], correct[fitted]), (stated[judged], correct[judged]))
    assert found.temperature == temperature
    assert found.ece_after < before.low < found.ece_before
