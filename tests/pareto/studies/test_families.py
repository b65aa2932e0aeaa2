"""Many merges at once: one false claim among all is as rare as the policy says, and true losses are found."""

import numpy as np

from stages.core.scoring.intervals import Clusters
from stages.core.scoring.multiplicity import holm
from stages.core.scoring.paired import Paired, paired_difference
from tests.pareto.studies.simulate import LEVEL, fewest, generator, most

STUDIES, MERGES, ITEMS = 100, 15, 150
CLUSTERS = Clusters(range(ITEMS), draws=50, seed=b"families")


def against(reference: np.ndarray, mine: np.ndarray) -> Paired:
    return paired_difference(mine.tolist(), reference.tolist(), CLUSTERS, 1 - 2 * LEVEL)


def is_any_shown(p_values: list[float]) -> tuple[bool, bool]:
    """Whether any of the merges is called something, with Holm's adjustment and without."""
    adjusted = holm(dict(enumerate(p_values)))
    return min(adjusted.values()) <= LEVEL, min(p_values) <= LEVEL


def count(shown: list[tuple[bool, bool]]) -> tuple[int, int]:
    adjusted, raw = zip(*shown, strict=True)
    return sum(adjusted), sum(raw)


def test_one_of_many_merges_that_lost_the_margin_is_seldom_promoted() -> None:
    # Every merge lost exactly the margin of .10, so promoting any of them is false.
    random, sure = generator("promotion"), np.ones(ITEMS, dtype=bool)
    promoted, unadjusted = count(
        [
            is_any_shown([against(sure, random.random(ITEMS) >= 0.10).kept_p(0.10) for _ in range(MERGES)])
            for _ in range(STUDIES)
        ]
    )
    assert promoted <= most(STUDIES, LEVEL)
    assert unadjusted > most(STUDIES, LEVEL)  # so it could fail: without Holm's adjustment it does


def test_merges_that_lost_nothing_are_seldom_called_losers() -> None:
    # All answer alike, and all are compared with one parent: the tests depend on each other.
    random = generator("lost")

    def study() -> tuple[bool, bool]:
        parent = random.random(ITEMS) < 0.8
        return is_any_shown([against(parent, random.random(ITEMS) < 0.8).loss_p for _ in range(MERGES)])

    lost, unadjusted = count([study() for _ in range(STUDIES)])
    assert lost <= most(STUDIES, LEVEL)
    assert unadjusted > most(STUDIES, LEVEL)


def test_a_planted_loss_of_a_rare_skill_of_the_size_called_detectable_is_found_four_times_in_five() -> None:
    # 60 items in a family of 20 merges and 11 skills: what `detectable` says before anything was lost.
    random, sure = generator("rare"), np.ones(60, dtype=bool)
    clusters = Clusters(range(60), draws=60, seed=b"rare")
    strictest = LEVEL / (20 * 11)
    size = paired_difference([True] * 60, [True] * 60, clusters, 0.95).detectable(strictest)
    found = {}
    for factor in (1.0, 0.5):
        answers = random.random((STUDIES, 60)) >= factor * size
        pairs = [paired_difference(mine.tolist(), sure.tolist(), clusters, 0.95) for mine in answers]
        found[factor] = sum(pair.loss_p <= strictest for pair in pairs)
    assert found[1.0] >= fewest(STUDIES, 0.8)
    assert found[0.5] < fewest(STUDIES, 0.8)  # half as much is missed more often than that


def test_a_detectable_loss_is_honest_where_both_answer_by_chance_too() -> None:
    random = generator("noise")
    pilot = against(random.random(ITEMS) < 0.9, random.random(ITEMS) < 0.9)
    found = {}
    for size in (pilot.detectable(LEVEL), 2.8 * pilot.standard_error):
        found[size] = sum(
            against(random.random(ITEMS) < 0.9, random.random(ITEMS) < 0.9 - size).loss_p <= LEVEL
            for _ in range(STUDIES)
        )
    honest, normal = found.values()
    assert honest >= fewest(STUDIES, 0.8)
    assert normal < fewest(STUDIES, 0.8)  # the normal formula forgets that losses add to what differs
