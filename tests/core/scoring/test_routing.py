import numpy as np
import pytest

from stages.core.errors import LabError
from stages.core.scoring.routing import BUCKETS, features, fit

SHIFTS = [f"shift {letter}{letter}c by {number}>" for letter in "abcdef" for number in (2, 5, 7)]
SORTS = [f"sort {letter}ca{letter}>" for letter in "defghi" for _ in range(3)]


def test_a_router_learns_from_the_prompt_whom_to_ask_and_generalises_to_new_words() -> None:
    router = fit([*SHIFTS, *SORTS], [0] * len(SHIFTS) + [1] * len(SORTS), 2)
    assert router.choose(["shift xyz by 9>", "sort zyx>"]) == (0, 1)


def test_three_parents_share_the_prompts_among_them() -> None:
    calls = [f"call {letter}()>" for letter in "abcdef"]
    router = fit([*SHIFTS, *SORTS, *calls], [2] * len(SHIFTS) + [0] * len(SORTS) + [1] * len(calls), 3)
    assert router.choose(["shift xyz by 9>", "sort zyx>", "call z()>"]) == (2, 0, 1)


def test_the_order_of_the_prompts_changes_no_choice() -> None:
    prompts, labels = [*SHIFTS, *SORTS], [0] * len(SHIFTS) + [1] * len(SORTS)
    forward, backward = fit(prompts, labels, 2), fit(prompts[::-1], labels[::-1], 2)
    np.testing.assert_allclose(forward.weights, backward.weights, atol=1e-3)
    assert forward.choose(prompts) == backward.choose(prompts)


def test_where_one_parent_is_always_right_every_prompt_goes_to_it() -> None:
    assert fit(SHIFTS, [1] * len(SHIFTS), 2).choose(["never seen", *SORTS]) == (1,) * (1 + len(SORTS))


def test_equal_scores_go_to_the_first_parent() -> None:
    router = fit(["ab", "ab"], [0, 1], 2)
    assert router.choose(["ab", "cd"]) == (0, 0)


def test_a_prompts_features_have_length_one_beside_the_intercept() -> None:
    rows = features(["ab", "a much longer prompt"]).toarray()
    np.testing.assert_allclose((rows[:, :BUCKETS] ** 2).sum(axis=1), 1.0)
    assert rows[:, BUCKETS].tolist() == [1.0, 1.0]


def test_ab_has_four_letters_three_pairs_and_two_triples_with_its_edges() -> None:
    shares = features(["ab"]).toarray()[0, :BUCKETS]
    np.testing.assert_allclose(shares[shares > 0], 1 / 3)  # nine n-grams, each once
    assert (shares > 0).sum() == 9


@pytest.mark.parametrize(("prompts", "labels"), [([], []), (["a"], [2]), (["a"], [-1]), (["a"], [0, 1])])
def test_prompts_without_fitting_labels_are_refused(prompts: list[str], labels: list[int]) -> None:
    with pytest.raises(LabError, match="needs prompts with labels 0 to 1 each"):
        fit(prompts, labels, 2)
