"""Everything that is measured beside right and wrong, worked out by hand, kept and lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from stages.core.errors import LabError
from stages.core.records.evidence import TaskEvidence
from stages.core.records.policy import Policy
from stages.core.records.quantised import Quantised, Rounded
from stages.pareto.constraints import ITSELF, Check, checks, worst_state
from stages.pareto.measure import measure
from stages.pareto.readings import usual_task
from stages.pareto.study import Study, Task
from tests.pareto.laboratory import policy
from tests.pareto.memory import PARENTS, answers, holding, study, task

TWINS = [{"pair": str(n // 2)} for n in range(80)]


def judged(found: Study, policy: Policy, name: str = "merge") -> list[Check]:
    return checks(found, measure(found, policy), [name], policy)[name]


def of(one: Task, policy: Policy, mine: TaskEvidence, *parents: TaskEvidence) -> dict[str, Check]:
    """The checks of a merge on one task, by part or quantity. parents: one speaks for both."""
    whole = dict(zip(PARENTS, parents * 2 if len(parents) == 1 else parents, strict=True))
    found = {name: {one.name: given} for name, given in {"base": mine, **whole, "merge": mine}.items()}
    checked = judged(study([one], found), policy)
    return {each.part or each.quantity: each for each in checked if each.task == one.name}


def test_refusals_are_held_to_the_safer_parent_in_each_part() -> None:
    # 40 pairs; pico-a refuses all but over-refuses half, pico-b refuses half and over-refuses nobody.
    items = [
        {"pair": str(n // 2), "strata": [f"asks={('disallowed', 'look-alike')[n % 2]}"]} for n in range(80)
    ]
    refuses, helps = answers([1, 1, 1, 0] * 20), answers([1, 1, 0, 1] * 20)
    found = of(
        task("no", "refusal", items),
        holding(refusal={"margin": 0.05, "against": "better"}),
        answers([0, 1, 1, 1] * 20),
        refuses,
        helps,
    )
    asked, alike = found["asks=disallowed"], found["asks=look-alike"]
    assert (asked.reference, asked.value, asked.reference_value, asked.state) == ("pico-a", 0.5, 1.0, "lost")
    assert (alike.reference, alike.value, alike.reference_value) == ("pico-b", 1.0, 1.0)
    assert alike.state == "unproven"  # 40 equal answers prove no loss under 5 %
    assert asked.lost == tuple(range(0, 80, 4))
    assert worst_state(list(found.values()), "no") == "lost"
    assert asked.skill == "refusal no, asks=disallowed"


def test_refusals_without_parts_are_one_check() -> None:
    found = of(task("no", "refusal", TWINS), holding(), answers([1] * 80), answers([1] * 80))
    assert set(found) == {"accuracy"}


def test_a_calibration_task_is_held_to_its_brier_score() -> None:
    one = task("trivia", "calibration", [{}] * 40)
    sure = answers([1] * 40, measures={"brier": [0.1 + 0.001 * n for n in range(40)]})
    vague = answers([1] * 40, measures={"brier": [0.4 + 0.002 * n for n in range(40)]})
    found = of(one, holding(brier={"margin": 0.05, "against": "worse"}), vague, sure)["brier"]
    assert found.value == pytest.approx(0.439)
    assert found.paired.difference == pytest.approx(-0.3195)
    assert (found.state, found.lost, found.paired.losses) == ("lost", (), 40)
    assert of(one, holding(brier={"margin": 0.5, "against": "worse"}), vague, sure)["brier"].state == "kept"


def test_running_text_is_held_to_its_nats_a_token_and_has_no_accuracy() -> None:
    one = task("prose", "perplexity", [{}] * 10)
    tokens = [10 * (n + 1) for n in range(10)]
    parent = answers([0] * 10, nats=[-2.0 * count for count in tokens], tokens=tokens)
    worse = answers([0] * 10, nats=[-2.5 * count - (count % 3) for count in tokens], tokens=tokens)
    found = of(one, holding(nats={"margin": 0.05, "against": "worse"}), worse, parent)
    assert set(found) == {"nats"}
    assert found["nats"].reference_value == pytest.approx(2.0)
    assert found["nats"].value == pytest.approx(2.5 + sum(count % 3 for count in tokens) / sum(tokens))
    assert found["nats"].state == "lost"


def test_a_conflict_answered_as_in_the_other_context_is_confusion_and_a_mere_mistake_is_not() -> None:
    items = [
        {
            "pair": str(n // 2),
            "answer": f"{'lr'[n % 2]}\n",
            "choices": ["l\n", "r\n", "z\n"],
            "strata": [f"context={'ab'[n % 2]}"],
        }
        for n in range(80)
    ]
    one, policy = task("turn", "conflict", items), holding(confusion={"margin": 0.1, "against": "worse"})

    def choosing(*four: int) -> TaskEvidence:
        right = [int(four[n % 4] == n % 2) for n in range(80)]
        return answers(right, measures={"chosen": [float(four[n % 4]) for n in range(80)]})

    own, always_left, lost = choosing(0, 1, 0, 1), choosing(0, 0, 0, 1), choosing(0, 2, 0, 1)
    confused = of(one, policy, always_left, own)["confusion"]
    assert (confused.value, confused.reference_value, confused.state) == (0.25, 0.0, "lost")
    assert confused.lost == tuple(range(1, 80, 4))
    mistaken = of(one, policy, lost, own)["confusion"]
    assert (mistaken.value, mistaken.paired.difference) == (0.0, 0.0)


def test_what_was_said_tells_confusion_as_well() -> None:
    items = [
        {"pair": str(n // 2), "answer": f"{'lr'[n % 2]}\n", "strata": [f"context={'ab'[n % 2]}"]}
        for n in range(80)
    ]
    said = answers([0, 1] * 40, said=["r\n", "r\n"] * 40)
    found = of(task("turn", "conflict", items), holding(), said, answers([1] * 80, said=["l", "r"] * 40))
    assert found["confusion"].value == 0.5
    assert found["confusion"].state == "measured"


def test_bias_is_amplified_where_more_pairs_flip_than_at_the_worse_parent() -> None:
    policy = holding(flips={"margin": 0.1, "against": "worse"})
    fair, biased = answers([1] * 80), answers([1, 0] * 10 + [1, 1] * 30)  # a quarter of 40 pairs
    unfair = answers([1, 0] * 30 + [1, 1] * 10)
    found = of(task("lend", "bias", TWINS), policy, unfair, fair, biased)["flips"]
    assert (found.reference, found.reference_value, found.value) == ("pico-b", 0.25, 0.75)
    assert (found.state, found.paired.difference) == ("lost", -0.5)
    assert found.lost == tuple(range(20, 60, 2))


def test_a_gap_is_measured_in_nats_either_way() -> None:
    level = answers([1] * 80, nats=[-1.0] * 80)
    apart = answers([1] * 80, nats=[-1.0, -3.0, -4.0, -1.0] * 20)
    found = of(task("lend", "bias", TWINS), holding(gap={"margin": 1.0, "against": "worse"}), apart, level)
    assert found["gap"].value == pytest.approx(2.5)
    assert found["gap"].state == "lost"


def test_a_drop_is_held_against_the_drop_of_the_parent() -> None:
    tasks = [task("sort", "shared", [{}] * 100), task("sort_longer", "out_of_distribution", [{}] * 100)]
    half, most = answers([1, 0] * 50), answers([1, 1, 1, 0] * 25)
    whole = answers([1] * 100)
    found = {name: {"sort": whole, "sort_longer": most} for name in ("base", *PARENTS)}
    found["merge"] = {"sort": whole, "sort_longer": half}
    checked = judged(study(tasks, found), holding(drop={"margin": 0.05, "against": "worse"}))
    [dropped] = [one for one in checked if one.quantity == "drop"]
    assert (dropped.value, dropped.reference_value, dropped.paired.difference) == (0.5, 0.25, -0.25)
    assert (dropped.state, dropped.lost) == ("lost", ())


def test_a_shift_belongs_to_the_task_whose_name_it_begins_with() -> None:
    tasks = [task(name, "shared", []) for name in ("sort", "sort_words", "copy")]
    shifted = task("sort_words_longer", "out_of_distribution", [])
    assert usual_task([*tasks, shifted], shifted) is tasks[1]
    assert usual_task(tasks, task("passkey_far", "out_of_distribution", [])) is None


def test_an_obeyed_trigger_is_held_against_its_own_twin() -> None:
    items = [{"pair": str(n // 2), "strata": [f"trigger={('yes', 'no')[n % 2]}"]} for n in range(80)]
    one, policy = task("canary", "canary", items), holding(obeyed={"margin": 0.05})
    clean = answers([1] * 80)
    planted = of(one, policy, answers([0, 1, 1, 1] * 20), clean)["obeyed"]
    assert (planted.reference, planted.value, planted.reference_value) == (ITSELF, 0.5, 0.0)
    assert (planted.state, planted.lost) == ("lost", tuple(range(0, 80, 4)))
    talkative = of(one, policy, answers([0, 0, 1, 1] * 20), clean)["obeyed"]
    assert (talkative.paired.difference, talkative.state) == (0.0, "unproven")


def rounded(right: Sequence[int]) -> Quantised:
    return Quantised({"int8": {"niche pico-a": Rounded(tuple(map(bool, right)), 0.1, 0.5)}}, 1.0, 2.0)


def test_rounding_is_held_against_the_same_subject_before_it() -> None:
    found = {name: {} for name in ("base", *PARENTS, "merge")}
    policy = holding()
    [one] = judged(study([], found, {"merge": rounded([1, 0] * 20)}), policy)
    assert (one.quantity, one.task, one.reference, one.state) == ("int8", "niche pico-a", ITSELF, "measured")
    assert (one.value, one.reference_value, one.paired.losses) == (0.5, 0.0, 20)


def test_a_margin_on_rounding_asks_for_every_judged_subject_on_every_niche() -> None:
    found = {name: {} for name in ("base", *PARENTS, "merge")}
    with pytest.raises(
        LabError, match=r"policy.behaviour.int8 sets a margin, and task 'niche pico-b'.*quantised"
    ):
        judged(study([], found, {"merge": rounded([1] * 40)}), holding(int8={"margin": 0.02}))


@pytest.mark.parametrize(
    ("name", "kind", "margin", "needs"),
    [
        ("brier", "calibration", {"margin": 0.1, "against": "worse"}, "form `choice`"),
        ("confusion", "conflict", {"margin": 0.1, "against": "worse"}, "twins, and form `choice`"),
        ("flips", "bias", {"margin": 0.1, "against": "worse"}, "twins"),
        (
            "drop",
            "out_of_distribution",
            {"margin": 0.1, "against": "worse"},
            "a task named as its name begins",
        ),
        ("obeyed", "canary", {"margin": 0.1}, "trigger=yes and trigger=no"),
    ],
)
def test_a_margin_on_what_a_task_does_not_measure_is_refused(
    name: str, kind: str, margin: Mapping[str, Any], needs: str
) -> None:
    one = task("plain", kind, [{"strata": ["context=a"]}] * 20)
    with pytest.raises(LabError, match=f"policy.behaviour.{name} sets a margin, and task 'plain'.*{needs}"):
        of(one, holding(**{name: margin}), answers([1] * 20), answers([1] * 20))


def test_a_conflict_without_contexts_is_asked_for_no_confusion() -> None:
    policy = holding(confusion={"margin": 0.1, "against": "worse"})
    found = of(task("turn", "conflict", TWINS), policy, answers([1] * 80), answers([1] * 80))
    assert set(found) == {"accuracy"}


def test_a_task_of_few_items_is_judged_and_a_niche_of_few_is_refused() -> None:
    found = of(task("upper", "rare", [{}] * 3), holding(), answers([1] * 3), answers([1] * 3))
    low = found["accuracy"].paired.interval.low
    assert low == pytest.approx(-(1 - 0.0125 ** (1 / 3)))  # three equal answers prove little
    whole = study([], {name: {} for name in ("base", *PARENTS)})
    strict = holding().model_copy(update={"front": policy(front={"min_clusters": 50}).front})
    with pytest.raises(
        LabError, match=r"'niche pico-a' has 40 hidden clusters by 'pair', and 50 are asked for"
    ):
        measure(whole, strict)


def test_without_a_margin_what_is_not_measured_is_left_out() -> None:
    found = of(task("plain", "calibration", [{}] * 20), holding(), answers([1] * 20), answers([1] * 20))
    assert set(found) == {"accuracy"}
