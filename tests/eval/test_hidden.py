from stages.eval.hidden import frozen_digest, hidden_seed

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_the_hidden_seed_does_not_depend_on_the_order_of_candidates() -> None:
    assert frozen_digest([A, B, C]) == frozen_digest([C, A, B])


def test_the_hidden_seed_changes_with_every_candidate_and_with_the_suite() -> None:
    sets = [[], [A], [A, B], [A, C], [A, B, C], [A, A]]
    frozen = [frozen_digest(artifacts) for artifacts in sets]
    assert len(set(frozen)) == len(sets)
    assert len({hidden_seed(one, suite) for one in frozen for suite in (A, B)}) == 2 * len(sets)


def test_the_hidden_seed_is_an_integer_that_json_carries_exactly() -> None:
    assert all(0 <= hidden_seed(frozen_digest([name]), A) < 2**52 for name in (A, B, C))
