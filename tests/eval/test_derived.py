"""Subjects that are made from the parents' answers, on a family of two whose answers are planted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stages.core.records.evidence import TaskEvidence
from stages.eval.answers import Answers, Split
from stages.eval.baselines import Artifact
from stages.eval.derived import CASCADE, ORACLE, ROUTER, SUREST, Derived, Family, derived
from tests.core.scoring.tiny import item, write_split

KINDS = {"shift": "niche:a", "sort": "niche:b"}
SIZES = {"calibration": 20, "search": 8, "selection": 2, "hidden": 4}
RISK = 0.1  # of 40 calibration items: three losses are allowed, 3 + 1 ≤ .1 · 41


def answers(right: Sequence[bool], certainty: Sequence[float | None] | None = None) -> TaskEvidence:
    measures = {} if certainty is None else {"certainty": tuple(certainty)}
    nats = tuple(-0.5 if one else -5.0 for one in right)
    return TaskEvidence(tuple(right), nats, (4,) * len(right), measures)


def expert(niche: str, kinds: Mapping[str, str] = KINDS) -> Answers:
    """Right and sure on its niche; wrong elsewhere and unsure, but sure of the last item of every task."""
    return {
        split: {
            task: answers([task == niche] * size, [0.9 if task == niche else 0.2] * (size - 1) + [0.95])
            for task in kinds
        }
        for split, size in SIZES.items()
    }


def family(folder: Path, kinds: Mapping[str, str] = KINDS, **changed: object) -> Family:
    splits = {}
    for name, size in SIZES.items():
        cases = {task: [item(f"{task} {name} {at}>", "x\n") for at in range(size)] for task in kinds}
        path = write_split(folder / name, cases)
        splits[name] = Split(name, f"digest of {name}", dict.fromkeys(kinds, size), path, folder, {})
    parents = [Artifact(name, folder / name, f"digest of {name}") for name in ("a", "b")]
    made = Family(parents, [expert("shift", kinds), expert("sort", kinds)], splits, kinds, list(kinds))
    return replace(made, **changed)


def by_id(found: tuple[list[Derived], dict[str, str]]) -> dict[str, Derived]:
    return {one.subject.id: one for one in found[0]}


def accuracy(one: Derived, task: str) -> float:
    return one.answers["hidden"][task].accuracy


@pytest.fixture
def two(tmp_path: Path) -> Family:
    return family(tmp_path)


def test_a_router_that_reads_the_task_in_the_prompt_is_right_in_one_pass_with_two_models(two: Family) -> None:
    router = by_id(derived(two, RISK))[ROUTER]
    assert (router.subject.kind, router.subject.passes, router.subject.models) == ("router", 1, 2)
    assert accuracy(router, "shift") == accuracy(router, "sort") == 1.0
    assert router.facts["asked"] == {"shift": {"a": 1.0, "b": 0.0}, "sort": {"a": 0.0, "b": 1.0}}
    assert router.facts["fitted_on"] == 16


def test_a_router_learns_from_the_search_split_and_nothing_else(two: Family) -> None:
    before = by_id(derived(two, RISK))[ROUTER]
    swapped = [
        {split: (mine if split == "search" else theirs)[split] for split in SIZES}
        for mine, theirs in (two.answers, two.answers[::-1])
    ]
    after = by_id(derived(replace(two, answers=swapped), RISK))[ROUTER]
    assert after.facts["asked"] == before.facts["asked"]
    assert accuracy(after, "sort") == 0.0, "what it chose is wrong now, and it does not know"


def test_nothing_is_fitted_on_a_task_that_a_parent_saw_in_training(two: Family) -> None:
    found = by_id(derived(replace(two, clean=["sort"]), RISK))
    assert found[ROUTER].facts["fitted_on"] == 8
    assert found[ROUTER].facts["asked"]["shift"] == {"a": 0.0, "b": 1.0}, "b was right on all that it saw"
    assert (found[CASCADE].facts["order"], found[CASCADE].facts["fitted_on"]) == (["b", "a"], 20)


def test_a_cascade_asks_on_up_to_the_certainty_that_its_risk_allows(two: Family) -> None:
    # equal on search, so a is asked first; on sort it is wrong at .2 nineteen times and at .95 once, and b
    # would be right: 3 losses are allowed, so all at .2 are asked on (τ = .2) and the one at .95 is not
    cascade = by_id(derived(two, RISK))[CASCADE]
    assert cascade.facts["order"] == ["a", "b"]
    assert cascade.facts["threshold"] == 0.2
    assert cascade.answers["hidden"]["sort"].correct == (True, True, True, False)
    assert cascade.facts["passes"] == {"shift": 1.0, "sort": 1.75}
    assert (cascade.subject.passes, cascade.subject.models) == (1.375, 2)


def test_a_cascade_that_may_lose_nothing_always_asks_the_last(two: Family) -> None:
    cascade = by_id(derived(two, 0.01))[CASCADE]
    assert (cascade.facts["threshold"], cascade.subject.passes) == (1.0, 2.0)
    assert cascade.answers["hidden"]["shift"] == two.answers[1]["hidden"]["shift"]


def test_a_cascade_is_set_on_search_and_calibration_and_nothing_else(two: Family) -> None:
    wrong = answers([False] * 4, [0.5] * 4)
    other = [{**one, "hidden": dict.fromkeys(KINDS, wrong)} for one in two.answers]
    before, after = (by_id(derived(one, RISK))[CASCADE] for one in (two, replace(two, answers=other)))
    assert [after.facts[name] for name in ("order", "threshold")] == [
        before.facts[name] for name in ("order", "threshold")
    ]


def test_the_surest_parent_answers_and_everybody_was_asked(two: Family) -> None:
    surest = by_id(derived(two, RISK))[SUREST]
    assert (surest.subject.kind, surest.subject.passes, surest.subject.models) == ("ensemble", 2, 2)
    # equally sure of the last item of every task: the first parent answers it
    assert surest.answers["hidden"]["sort"].correct == (True, True, True, False)
    assert accuracy(surest, "shift") == 1.0


def test_the_oracle_is_right_where_anybody_is_and_is_a_bound(two: Family) -> None:
    found = by_id(derived(two, RISK))
    assert found[ORACLE].subject.kind == "bound"
    for task in KINDS:
        assert accuracy(found[ORACLE], task) == 1.0 >= max(accuracy(one, task) for one in found.values())


def test_without_a_certainty_the_surest_and_the_cascade_are_left_out_and_it_is_said_why(two: Family) -> None:
    first = two.answers[0]
    silent = {**first, "hidden": {**first["hidden"], "sort": answers([False] * 4)}}
    made, left_out = derived(replace(two, answers=[silent, two.answers[1]]), RISK)
    assert [one.subject.id for one in made] == [ROUTER, ORACLE]
    assert left_out.keys() == {SUREST, CASCADE}
    assert left_out[CASCADE] == "no certainty is measured on sort: nobody can say who is surest"


def test_where_nothing_is_asked_the_first_parents_answer_counts_and_costs_nothing(tmp_path: Path) -> None:
    kinds = KINDS | {"novel": "perplexity"}
    read = [
        {split: {**tasks, "novel": answers([False] * SIZES[split])} for split, tasks in one.items()}
        for one in (expert("shift"), expert("sort"))
    ]
    read[1]["search"]["sort"] = answers([True] * 8, [0.9] * 8)
    found = by_id(derived(family(tmp_path, kinds, answers=read), RISK))
    for name in (SUREST, CASCADE):
        assert found[name].answers["hidden"]["novel"] == read[0]["hidden"]["novel"]
    assert found[CASCADE].facts["passes"].keys() == KINDS.keys()
    assert found[CASCADE].subject.passes == 1.375


def test_a_digest_names_the_parents_the_risk_and_what_was_fitted_on(two: Family) -> None:
    other = replace(two, parents=[two.parents[0], Artifact("b", Path("b"), "another")])
    found = [by_id(derived(one, risk)) for one, risk in ((two, RISK), (two, 0.2), (other, RISK))]
    assert len({one[CASCADE].subject.artifact for one in found}) == 3
    assert found[0][ROUTER].subject.artifact == found[1][ROUTER].subject.artifact
    assert len({one.subject.artifact for one in found[0].values()}) == 4
    fewer = by_id(derived(replace(two, clean=["sort"]), RISK))
    assert fewer[ROUTER].subject.artifact != found[0][ROUTER].subject.artifact
