"""The charts' specifications and the labels of the front: valid, repeatable, and apart from each other."""

import json
from pathlib import Path

import pytest

from stages.core.records.canonical import Json
from stages.pareto.report.charts.front import front
from stages.pareto.report.charts.intervals import intervals
from stages.pareto.report.graph import graph_of
from stages.pareto.report.layout import Axis, Box, Layout, layout
from stages.pareto.report.lineage import descent
from stages.pareto.report.markdown import mermaid
from stages.pareto.report.marks import MARKS, mark_of, symbol
from stages.pareto.report.pages import asset
from stages.pareto.results import Results, results
from stages.pareto.study import load
from stages.pareto.trial import trial
from tests.pareto.laboratory import EXPERIMENT, build, policy


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    data = build(tmp_path_factory.mktemp("charts"))
    return results(trial(load(data, EXPERIMENT), policy(front={"bootstrap": 200})))


@pytest.fixture(scope="module")
def placed(found: Results) -> Layout:
    return layout(found)


def strings(tree: Json) -> list[str]:
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in strings(value)]
    if isinstance(tree, list):
        return [text for value in tree for text in strings(value)]
    return [tree] if isinstance(tree, str) else []


def test_a_specification_is_the_same_however_often_it_is_made(found: Results, placed: Layout) -> None:
    first, second = (json.dumps(front(found, placed), sort_keys=True) for _ in range(2))
    assert first == second
    assert json.dumps(intervals(found)) == json.dumps(intervals(found))


def test_every_colour_is_a_variable_of_the_style_sheet(found: Results, placed: Layout) -> None:
    spec = front(found, placed)
    tokens = {text for text in strings(spec) if text.startswith("token:")}
    assert tokens
    for token in tokens:
        assert f"--{token.removeprefix('token:')}:" in asset("page.css")
    assert not [text for text in strings(spec) if text.startswith("#")]


def test_the_line_of_the_chart_steps_down_then_right(found: Results, placed: Layout) -> None:
    spec = front(found, placed)
    lines = [layer for layer in spec["layer"] if layer["mark"]["type"] == "line"]
    assert [line["mark"]["interpolate"] for line in lines] == ["step-before"]  # d3: y first, then x
    points = spec["datasets"][lines[0]["data"]["name"]]
    assert [point["x"] for point in points] == sorted(point["x"] for point in points)
    assert [point["y"] for point in points] == sorted((point["y"] for point in points), reverse=True)


def test_every_evaluated_subject_is_in_the_chart_once(found: Results, placed: Layout) -> None:
    spec = front(found, placed)
    layers = [
        layer
        for layer in spec["layer"]
        if layer["mark"]["type"] == "point" and "tooltip" in layer["encoding"]
    ]
    [layer] = layers
    shown = [record["subject"] for record in spec["datasets"][layer["data"]["name"]]]
    assert sorted(shown) == sorted(row.label for row in found.plotted)


def test_a_rejected_merge_is_hollow_in_the_chart_and_in_the_picture() -> None:
    hollow = [mark.status for mark in MARKS if mark.hollow]
    assert hollow == ["rejected"]


def test_shape_or_fill_tells_apart_what_colour_does(found: Results) -> None:
    seen = {(mark_of(row).shape, mark_of(row).hollow, mark_of(row).colour) for row in found.rows}
    kinds = {"base", "parent", "ensemble"}
    assert len({mark.shape for mark in MARKS if mark.status in kinds}) == 3
    assert len(seen) == len({mark_of(row).status for row in found.rows})


@pytest.mark.parametrize("shape", ["circle", "square", "diamond", "triangle-up"])
def test_a_symbol_is_a_closed_path_around_its_centre(shape: str) -> None:
    path = symbol(shape, 100, 100, 6)
    assert path.startswith("M")
    assert path.endswith("z")


def test_an_axis_maps_there_and_back_and_keeps_outliers_on_its_edge() -> None:
    axis = Axis(0.4, 1.0, 100, 700, (0.4, 0.7, 1.0))
    assert axis.at(0.7) == pytest.approx(400)
    assert axis.value(axis.at(0.55)) == pytest.approx(0.55)
    assert (axis.at(0.1), axis.at(1.2)) == (100, 700)


def test_shared_area_of_two_boxes() -> None:
    assert Box(0, 0, 10, 10).overlap(Box(8, 5, 20, 20)) == 10  # 2 wide, 5 high
    assert Box(0, 0, 10, 10).overlap(Box(10, 0, 20, 10)) == 0


def test_a_collapsed_rejected_merge_does_not_stretch_the_picture(found: Results, placed: Layout) -> None:
    outside = [point.row.label for point in placed.points if point.outside]
    assert outside == ["task_arithmetic 2"]
    assert placed.frame.across.low == pytest.approx(0.3)
    assert placed.frame.up.low == pytest.approx(0.4)  # pico-a reaches 0.43 on pico-b's niche


def test_the_lineage_of_the_recommended_merge_is_a_graph_of_its_inputs(found: Results) -> None:
    line = descent(found.trial.study, found.answer.subject or "")
    assert line is not None
    assert [(origin.id, origin.role) for origin in line.origins] == [
        ("base", "base"), ("pico-a", "parent"), ("pico-b", "parent"),
    ]  # fmt: skip
    graph = mermaid(graph_of(found, line))
    assert graph.startswith("flowchart LR\n")
    assert graph.count("--> recipe") == 3
    assert "ties v1<br/>density 0.2, lambda 1" in graph


def test_only_a_candidate_with_a_lineage_file_has_a_descent(found: Results, tmp_path: Path) -> None:
    assert descent(found.trial.study, "ensemble-uniform") is None
    data = build(tmp_path)
    name = found.answer.subject or ""
    (data / "candidates" / name / "lineage.json").unlink()
    assert descent(load(data, EXPERIMENT), name) is None
