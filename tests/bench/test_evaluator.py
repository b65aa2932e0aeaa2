"""The tables of the evaluator's benchmark; no model is run here, and no time is judged."""

from pathlib import Path

from tests.bench import evaluator
from tests.bench.evaluator import Found, World


def test_the_table_divides_the_peers_median_by_ours_with_and_without_our_start() -> None:
    world = World({}, Path(), {"one": "exact_answer"}, 40)
    ours = [{"merge": (1.0, 0.5), "answers": (1.0, 0.5)}, {"merge": (2.0, 0.5), "answers": (1.0, 0.5)}]
    peer = [{"write": (6.0, 10.0), "lm_eval": (54.0, 30.0)}]
    lines = evaluator.section(
        "toy", Found(world, ours, 2, [(1.5, 3.0)], [(20.0, 20.0)], peer, [{}, {}])
    ).splitlines()
    assert "## toy: 40 items in 1 tasks; 2 candidates of ours in each of 1 rounds, one of the peer" in lines
    assert (
        "| ours: merge into the resident model, answer | 2.50 (2.00–3.00) | 1.00 (1.00–1.00) "
        "| 24.0 × | 40.0 × |" in lines
    )
    assert "| ours, 2 processes at once | 1.50 (1.50–1.50) | 3.00 (3.00–3.00) | 40.0 × | 13.3 × |" in lines
    # a start of 20 s shared by 20 candidates adds 1 s to each
    assert "| ours with its start, shared by 20 candidates | 3.50 | 2.00 | 17.1 × | 20.0 × |" in lines


def test_accuracies_are_compared_where_lm_eval_judges_as_we_do() -> None:
    alike = ("exact_answer", "choice", "generate", "canary", "tool_call")
    assert [evaluator.judged_alike(form) for form in alike] == [True, True, True, False, False]
