from stages.core.records.evidence import TaskEvidence
from stages.core.scoring.picking import certainties, picked, right_one, surest

SURE = {"certainty": (0.9, 0.2, None), "only_first": (1.0, 1.0, 1.0)}
FIRST = TaskEvidence((True, False, False), (-1.0, -2.0, -3.0), (4, 5, 6), SURE, ("a", "b", "c"))
SECOND = TaskEvidence(
    (True, True, False), (-0.5, -9.0, -4.0), (4, 5, 6), {"certainty": (0.8, 0.7, None)}, None
)


def test_picked_answers_are_those_of_the_member_chosen_for_each_item() -> None:
    found = picked([FIRST, SECOND], [1, 0, 1])
    assert found.correct == (True, False, False)
    assert found.loglikelihood == (-0.5, -2.0, -4.0)
    assert found.answer_tokens == (4, 5, 6)


def test_picked_answers_keep_only_what_every_member_has() -> None:
    assert picked([FIRST, SECOND], [0, 0, 0]).measures == {"certainty": (0.9, 0.2, None)}
    assert picked([FIRST, SECOND], [0, 0, 0]).said is None
    assert picked([FIRST, FIRST], [0, 1, 0]).said == ("a", "b", "c")


def test_the_right_one_answers_right_and_ties_go_to_the_likelier_then_to_the_first() -> None:
    # both right: the second is likelier; the second alone right, though unlikelier; both wrong: the first
    assert right_one([FIRST, SECOND]) == (1, 1, 0)
    assert right_one([FIRST, FIRST]) == (0, 0, 0)


def test_the_surest_is_the_first_of_equals_and_where_nobody_says_how_sure() -> None:
    found = certainties([FIRST, SECOND])
    assert found == [[0.9, 0.2, None], [0.8, 0.7, None]]
    assert surest(found) == (0, 1, 0)
    assert surest([[0.5], [0.5]]) == (0,)


def test_without_a_measure_of_every_member_nobody_is_surest() -> None:
    silent = TaskEvidence((True,), (-1.0,), (1,))
    assert certainties([FIRST, silent]) is None
