from collections import Counter

import pytest

from stages.core.scoring.engine import batches
from stages.core.scoring.engine.asks import Ask, Stop
from stages.core.scoring.engine.batches import Branching, Whole, buckets, plan, trunks

STOP = Stop(("\n",), 5)
SHARED = tuple(range(100, 100 + batches.TRUNK + 6))


def asks() -> list[Ask]:
    alone = [Ask((n, *range(n)), ((7,) * (1 + n % 3),)) for n in range(1, 30)]
    choices = [Ask((50 + n, 1, 2), ((3,), (4, 5)), STOP if n % 2 else None) for n in range(6)]
    few_shot = [Ask((*SHARED, n, 1), ((9, 9),)) for n in range(6)]
    return [*alone, *choices, *few_shot, Ask((1, 2), (), STOP)]


@pytest.mark.parametrize(("cached", "aligned"), [(True, False), (True, True), (False, False)])
def test_every_continuation_is_scored_once_whatever_the_mode(cached: bool, aligned: bool) -> None:
    given = asks()
    seen: Counter[tuple[int, int]] = Counter()
    for batch in plan(given, cached=cached, aligned=aligned):
        if isinstance(batch, Whole):
            seen.update(batch.rows)
        else:
            seen.update((place, n) for place in batch.asks for n in range(len(given[place].continuations)))
    assert seen == Counter(
        {(place, n): 1 for place, ask in enumerate(given) for n in range(len(ask.continuations))}
    )


def test_without_a_cache_nothing_branches_and_nothing_has_a_trunk() -> None:
    assert all(
        isinstance(batch, Whole) and not batch.trunk for batch in plan(asks(), cached=False, aligned=False)
    )


def test_contexts_that_share_their_beginning_share_a_trunk_and_keep_a_token_each() -> None:
    contexts = [(*SHARED, 1, 2), (*SHARED, 1, 3, 4), (*SHARED, 1), (*SHARED, 1, 2, 5), (8, 9)]
    assert trunks(contexts) == [((), [4]), (SHARED, [0, 1, 2, 3])]


def test_too_few_sharers_or_too_short_a_beginning_make_no_trunk() -> None:
    few = [(*SHARED, n) for n in range(batches.SHARERS - 1)]
    short = [(*SHARED[: batches.TRUNK - 1], n) for n in range(9)]
    assert trunks(few) == [((), [0, 1, 2])]
    assert trunks(short) == [((), list(range(9)))]


def test_a_context_that_is_the_trunk_itself_still_reads_a_token_of_its_own() -> None:
    ((trunk, places),) = trunks([SHARED] * 4)
    assert (trunk, places) == (SHARED[:-1], [0, 1, 2, 3])


def test_aligned_branching_batches_hold_contexts_of_one_length() -> None:
    given = [Ask((1,) * length, ((3,), (4,))) for length in (3, 5, 3, 4, 5)]
    found = [batch.asks for batch in plan(given, cached=True, aligned=True) if isinstance(batch, Branching)]
    assert found == [(1, 4), (3,), (0, 2)]


def test_a_batch_ends_where_its_tokens_or_the_places_of_its_cache_are_spent() -> None:
    width = batches.TOKENS // 4
    assert [len(part) for part in buckets(range(9), [width] * 9, 0)] == [4, 4, 1]
    held = batches.CACHED // 2 - 1
    assert [len(part) for part in buckets(range(5), [held + 1] * 5, held)] == [2, 2, 1]
    assert [len(part) for part in buckets("a", [batches.TOKENS * 2], 0)] == [1]


def test_the_longest_rows_come_first_and_equal_ones_keep_their_order() -> None:
    assert list(buckets("abcd", [1, 3, 1, 2], 0)) == [["b", "d", "a", "c"]]
