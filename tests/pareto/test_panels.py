"""The panels on a study in which everything is planted: what was planted is what they say."""

import json
import re
from pathlib import Path

import altair
import pytest

from stages.core.records.canonical import read_json, write_json
from stages.core.scoring.intervals import Clusters
from stages.pareto.report.charts import plots
from stages.pareto.report.charts.lines import CURVE_POINTS, thinned
from stages.pareto.report.estimates import estimate, only, samples
from stages.pareto.report.graph import Graph, Kind, Node, drawing, wrapped
from stages.pareto.report.layout import layout
from stages.pareto.report.page import Filled, fill, page
from stages.pareto.report.pages import TEMPLATES, asset
from stages.pareto.report.panel import Panel, View
from stages.pareto.report.panels import PANELS, bias, calibration, conflict, hidden, lost, safety, search
from stages.pareto.report.panels.quantisation import compared
from stages.pareto.report.tables import Cell, Table
from stages.pareto.results import results
from stages.pareto.study import load
from stages.pareto.trial import trial
from tests.pareto.laboratory import EXPERIMENT, MERGES, ROOT, build, policy
from tests.pareto.matrix import INFECTED, TOO_SURE, UNFAIR, whole

QUICK = policy(front={"bootstrap": 200})
IDS = {merge.label: merge.id for merge in MERGES}


def looked_at(data: Path) -> View:
    found = results(trial(load(data, EXPERIMENT), QUICK))
    return View(found, layout(found), "<svg/>")


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    return looked_at(whole(tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="module")
def filled(view: View) -> tuple[list[Filled], list[tuple[Panel, str]]]:
    return fill(view)


@pytest.fixture(scope="module")
def html(view: View) -> str:
    return re.sub(r"<script>.*?</script>", "", page(view.found, view.placed, "<svg/>"), flags=re.DOTALL)


def cells(table: Table, label: str) -> dict[str, Cell]:
    line = next(line for line in table.lines if line.heading == label)
    return dict(zip(table.head[1:], line.cells, strict=True))


def test_a_panel_is_one_file_of_code_and_one_template() -> None:
    names = {panel.name for panel in PANELS}
    assert len(names) == len(PANELS)
    assert {path.name.removesuffix(".html.j2") for path in (TEMPLATES / "panels").iterdir()} == names
    files = {path.stem for path in Path(bias.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in names} == files


def test_the_whole_matrix_leaves_no_panel_out(
    filled: tuple[list[Filled], list[tuple[Panel, str]]],
) -> None:
    assert [panel.name for panel, _ in filled[1]] == []
    assert [one.panel for one in filled[0]] == list(PANELS)


def test_what_was_not_measured_is_named_with_what_is_missing(tmp_path: Path) -> None:
    poor = looked_at(build(tmp_path))
    text = page(poor.found, poor.placed, "<svg/>")
    absent = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", text.partition('id="absent"')[2]))
    assert {"Calibration", "Tool behaviour", "What serving takes", "Quantisation", "Long context"} <= set(
        absent
    )
    assert "quantised.json" in absent["Quantisation"]
    for panel in PANELS:
        assert (f'id="{panel.name}"' in text) != (panel.title in absent), panel.name


def test_a_panel_is_added_without_touching_another(view: View) -> None:
    extra = Panel("gates", "Again", "Again", "Cost", PANELS[-4].build)
    assert [one.panel.title for one in fill(view, [extra])[0]] == ["Again"]


def test_every_id_of_the_page_is_there_once_and_every_link_leads_somewhere(html: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'href="#([^"]+)"', html):
        assert target in ids
    for name in re.findall(r'aria-labelledby="([^"]+)"', html):
        assert name in ids
    assert html.count("<table") == html.count("<caption")


def test_every_chart_has_words_and_colours_of_the_style_sheet(
    filled: tuple[list[Filled], list[tuple[Panel, str]]], html: str
) -> None:
    charts = {name: chart for one in filled[0] for name, chart in one.shown.charts.items()}
    assert len(charts) >= 20
    for chart in {name.partition("-")[0]: chart for name, chart in charts.items()}.values():
        altair.LayerChart.from_dict(chart.spec)  # raises where the schema does not allow it
    for name, chart in charts.items():
        assert f'id="chart-{name}"' in html
        assert len(chart.words) > 40
        text = json.dumps(chart.spec)
        for token in set(re.findall(r'"token:([a-z]+)"', text)):
            assert f"--{token}:" in asset("page.css")
        assert not re.search(r'"#[0-9a-f]{3,8}"', text)


def test_who_states_more_than_it_meets_is_seen_and_mended_by_a_temperature(view: View) -> None:
    [task] = view.tasks("calibration")
    table = calibration.measured(view, task)
    sure, parent = cells(table, TOO_SURE), cells(table, "pico-a")
    assert float(sure["Temperature"].value) > 2 > float(parent["Temperature"].value)
    assert float(sure["ECE"].value) > 0.15 > float(sure["ECE after"].value)
    assert "0 to" in parent["ECE"].note  # a calibrated model's interval reaches down to 0


def test_a_planted_backdoor_is_detected_in_the_infected_alone(view: View, html: str) -> None:
    [task] = view.tasks("canary")
    found = safety.canaries(view, task)
    assert set(found) == set(view.study.evidence)
    assert [name for name, one in found.items() if one.detected] == [IDS[INFECTED]]
    assert f"A backdoor was detected in {INFECTED}." in html


def test_a_look_alike_is_over_refused_where_it_is_answered_wrong(view: View) -> None:
    [task] = view.tasks("refusal")
    row = view.found.row(IDS[UNFAIR])
    correct = view.answers(row.id, task.name).correct
    asked = [strata[0] for strata in view.strata(task)]
    wrong = [not right for right, one in zip(correct, asked, strict=True) if one == "asks=look-alike"]
    assert safety.rates(view, row, task)["look-alike", ""].value == pytest.approx(sum(wrong) / len(wrong))


def test_amplified_bias_is_shown_even_of_a_merge_that_no_panel_has_room_for(view: View) -> None:
    assert IDS[UNFAIR] not in {row.id for row in view.focus}
    [task] = view.tasks("bias")
    found = bias.measured(view, task)
    assert max(found, key=lambda name: found[name].flip_rate) == IDS[UNFAIR]
    assert found[IDS[UNFAIR]].gap > 2 * found["pico-a"].gap


def test_confusion_is_the_twins_answer(view: View) -> None:
    [task] = view.tasks("conflict")
    contexts = conflict.contexts_of(view, view.found.row(IDS[UNFAIR]), task)
    assert [one.context for one in contexts] == ["a", "b"]
    assert all(one.neither == 0 for one in contexts)  # whatever it gets wrong, it takes for the other
    assert any(one.neither for one in conflict.contexts_of(view, view.found.row("base"), task))


def test_lost_items_are_shown_with_prompt_expected_and_said(view: View) -> None:
    first = lost.losses(view)[0]
    assert (first.row.label, first.check.task) == ("task_arithmetic 1", "upper")
    assert len(first.items) == lost.ITEMS < len(first.check.lost)
    place = first.check.lost[0]
    assert first.items[0] == lost.Item(f"upper {place}>", first.items[0].expected, "<none of it>")
    assert {one.check.state for one in lost.losses(view) if one.check.kind != "rare"} == {"lost"}


def test_rounding_costs_what_was_planted(view: View) -> None:
    [task, _] = view.niche_tasks()
    kept = {
        name: found.after.accuracy / found.before
        for name in ("pico-a", IDS["ties anchor"])
        if (found := compared(view, name, "int4", task))
    }
    assert kept["pico-a"] == pytest.approx(0.95, abs=0.04)
    assert kept[IDS["ties anchor"]] == pytest.approx(0.8, abs=0.1)
    assert compared(view, "router", "int4", task) is None


def test_the_best_so_far_never_falls(view: View) -> None:
    found = search.scores(view, "search")
    best = [score for _, score in search.best_so_far(found)]
    assert best == sorted(best)
    assert best[-1] == max(score for _, _, score in found)


def test_flattery_beyond_the_parents_gap_is_shown_and_honest_scores_are_not(tmp_path: Path) -> None:
    data = build(tmp_path)
    path = data / "evidence" / f"{IDS['linear 1']}.json"
    tree = read_json(path)
    for task in ("recall", "sort"):
        tree["results"]["selection"][task]["correct"] = "1" * 40
    write_json(path, tree)
    flattered = looked_at(data)
    curse = hidden.winners_curse(flattered.found)
    assert curse is not None
    found = hidden.gaps(flattered, curse)
    assert [name for name, one in found.items() if one.inflated] == [IDS["linear 1"]]
    assert not any(one.leaked for one in found.values())


def test_an_estimate_of_a_part_leaves_out_what_is_not_there() -> None:
    clusters = Clusters(range(4), draws=200, seed=b"\0" * 32)
    values = [1.0, None, 0.0, 1.0]
    found = estimate(values, clusters, 0.95)
    assert found is not None
    assert found.value == pytest.approx(2 / 3)
    assert (round(found.low, 3), round(found.high, 3)) == (0.0, 1.0)  # the exact bounds of 2 of 3 are .09–.99
    assert estimate([None] * 4, clusters, 0.95) is None
    assert only([1, 1, 0, 0], [True, False, True, False]) == [1, None, 0, None]
    assert ((samples(values, clusters) >= 0) | (samples(values, clusters) != samples(values, clusters))).all()


def test_a_graph_is_drawn_from_left_to_right_without_overlap() -> None:
    kinds: dict[str, Kind] = {"a": "origin", "b": "origin", "r": "recipe", "f": "artifact", "o": "verdict"}
    drawn = drawing(
        Graph([Node(name, kind, "title", "detail") for name, kind in kinds.items()], [("a", "r")])
    )
    boxes = {box.node.name: box for box in drawn.boxes}
    assert boxes["a"].x < boxes["r"].x < boxes["f"].x < boxes["o"].x
    assert boxes["a"].y + boxes["a"].height < boxes["b"].y
    assert len(drawn.paths) == 1
    assert all(box.y >= 0 and box.y + box.height <= drawn.height for box in drawn.boxes)


def test_words_are_wrapped_at_spaces_and_cut_where_there_are_too_many() -> None:
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrapped("a b c d e f", 1, most=2) == ["a", " …"]


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    points = [(n / 999, n / 9) for n in range(1000)]
    kept = thinned(points)
    assert (len(kept), kept[0], kept[-1]) == (CURVE_POINTS, points[0], points[-1])


def test_the_templates_of_dvc_plots_are_what_the_page_draws_with() -> None:
    made = plots.templates()
    assert made == {name: read_json(ROOT / plots.FOLDER / name) for name in made}
    for tree in made.values():
        text = json.dumps(tree)
        assert plots.DATA in text
        assert "token:" not in text
