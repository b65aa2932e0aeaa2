"""The five files of reports/: complete, escaped, self-contained, and the same bytes for the same evidence."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from stages.core.entry import enter
from stages.core.records.canonical import Json, read_json, write_json
from stages.pareto import __main__ as stage
from stages.pareto.__main__ import run
from stages.pareto.report.layout import layout
from stages.pareto.report.pages import cell
from stages.pareto.report.panel import View
from stages.pareto.report.panels.hidden import curse_in_words, winners_curse
from stages.pareto.report.panels.retention import heat_map
from stages.pareto.results import Results, results
from stages.pareto.study import load
from stages.pareto.terminal import PREFIX, outcome_table
from stages.pareto.trial import trial
from tests.pareto.laboratory import BASELINES, EXPERIMENT, MERGES, Merge, build, policy, refused, skill

FILES = ("report.html", "report.md", "front.svg", "front.json", "metrics.json")
QUICK = policy(front={"bootstrap": 400})
HOSTILE = '<script>alert("x")</script> | `code` [link](http://x)'


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """One planted study and its reports folder."""
    root = tmp_path_factory.mktemp("lab")
    return root / "reports", run(EXPERIMENT, QUICK, build(root / "data"), root / "reports")


def text(lab: tuple[Path, Results], name: str) -> str:
    return (lab[0] / name).read_text(encoding="utf-8")


def view(found: Results) -> View:
    return View(found, layout(found), "")


def without_scripts(page: str) -> str:
    return re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


def printed(reports: Path, width: int = 160) -> str:
    console = Console(width=width, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115  closed by exit
    with console.file:
        console.print(outcome_table(reports, width))
        return console.export_text()


def test_the_same_evidence_gives_the_same_bytes_in_any_order(
    lab: tuple[Path, Results], tmp_path: Path
) -> None:
    names = [*BASELINES, *(merge.id for merge in MERGES if merge.gate is None)]
    run(EXPERIMENT, QUICK, build(tmp_path / "data", order=names[::-1]), tmp_path / "reports")
    for name in FILES:
        assert (tmp_path / "reports" / name).read_bytes() == (lab[0] / name).read_bytes(), name


def test_the_page_holds_everything_and_may_fetch_nothing(lab: tuple[Path, Results]) -> None:
    page = text(lab, "report.html")
    body = without_scripts(page)
    assert not re.findall(r'(?:src|href|action)="(?!#)[^"]*"', body)
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "unsafe-eval" not in page
    assert body.count("sha256-") == 2  # the runtime and page.js, and no other script, may run
    assert len(page.encode()) < 1_500_000


def test_the_page_can_be_used_without_eyes_or_mouse(lab: tuple[Path, Results]) -> None:
    page = without_scripts(text(lab, "report.html"))
    for landmark in ("<header>", "<main ", "<footer>", '<nav aria-label="Sections">', 'class="skip"'):
        assert landmark in page
    assert '<html lang="en">' in page
    assert page.count("<table") == page.count("<caption")
    assert len(re.findall(r'class="chart" id="[a-z-]+" role="img" aria-label="[^"]{40,}', page)) == 6
    regions = re.findall(r'<div class="scroll"[^>]*>', page)
    assert regions
    assert all('tabindex="0"' in region and "aria-label" in region for region in regions)
    for name in set(re.findall(r'aria-labelledby="([^"]+)"', page)):
        assert all(f'id="{part}"' in page for part in name.split()), name
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page, target


def test_no_name_from_outside_can_become_markup(tmp_path: Path) -> None:
    merges = [Merge("ties", HOSTILE, skill(0.93, 0.94)), Merge("ties", "bad", {}, gate=HOSTILE)]
    experiment = replace(EXPERIMENT, title=HOSTILE, question=HOSTILE)
    run(experiment, QUICK, build(tmp_path / "data", merges), tmp_path / "reports")
    page = (tmp_path / "reports" / "report.html").read_text()
    svg = (tmp_path / "reports" / "front.svg").read_text()
    markdown = (tmp_path / "reports" / "report.md").read_text()
    assert "<script>alert" not in page
    assert "<script>alert" not in svg
    ET.fromstring(svg)
    assert "<script>" not in markdown
    assert not re.search(r"[^\\]\]\(http", markdown)
    rows = [line for line in markdown.splitlines() if line.startswith("| **candidate**")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [9]


def test_a_cell_of_markdown_is_one_line_of_plain_text() -> None:
    assert cell("a|b\n*c* <d> `e`") == r"a\|b \*c\* \<d\> \`e\`"


def test_the_picture_is_one_well_formed_file_with_words(lab: tuple[Path, Results]) -> None:
    root = ET.fromstring(text(lab, "front.svg"))
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title") is not None
    words = root.findtext(f"{space}desc") or ""
    assert "On the front, from left to right: pico-b" in words
    assert "prefers-color-scheme: dark" in text(lab, "front.svg")
    assert "href" not in text(lab, "front.svg")


def test_the_line_of_the_picture_steps_down_then_right(lab: tuple[Path, Results]) -> None:
    path = re.search(r'class="line" d="([^"]+)"', text(lab, "front.svg"))
    assert path
    moves = re.findall(r"([MVH])([\d.]+)(?: ([\d.]+))?", path[1])
    kinds = "".join(kind for kind, *_ in moves)
    assert re.fullmatch(r"MH(VH)*V", kinds)
    down = [float(value) for kind, value, _ in moves if kind == "V"]
    right = [float(value) for kind, value, _ in moves if kind == "H"]
    assert down == sorted(down)  # y grows downward in SVG
    assert right == sorted(right)


def test_the_line_is_drawn_through_no_rejected_subject_and_no_ensemble(lab: tuple[Path, Results]) -> None:
    assert {row.status for row in lab[1].line} <= {"candidate", "archived", "parent", "base"}
    assert {"pico-a", "pico-b"} <= {row.id for row in lab[1].line}


def test_baselines_and_the_recommended_merge_are_named_in_the_picture(lab: tuple[Path, Results]) -> None:
    found = lab[1]
    names = [label.text for label in layout(found).labels]
    assert {*BASELINES, found.row(found.answer.subject or "").label} <= set(names)
    assert len(names) == len(set(names))


def test_metrics_are_few_and_plain(lab: tuple[Path, Results]) -> None:
    tree = json.loads(text(lab, "metrics.json"))
    assert set(tree) == {"answer", "outcomes", "hidden_items", "headline", "niches", "ensemble"}
    assert tree["answer"]["subject"] == next(m.id for m in MERGES if m.label == "ties anchor")
    assert sum(tree["outcomes"].values()) == len(MERGES)
    assert set(tree["niches"]) == {"pico-a", "pico-b"}
    least = min(tree["niches"].values(), key=lambda niche: niche["recovered"])
    assert tree["headline"]["value"] == least["recovered"]
    assert text(lab, "metrics.json").count("\n") < 50


def test_plot_data_has_one_record_per_subject_with_the_same_keys(lab: tuple[Path, Results]) -> None:
    records = json.loads(text(lab, "front.json"))
    assert len(records) == len(BASELINES) + len(MERGES)
    assert len({tuple(sorted(record)) for record in records}) == 1


def test_markdown_says_answer_losses_and_how_to_verify(lab: tuple[Path, Results]) -> None:
    markdown = text(lab, "report.md")
    assert f"**{cell(lab[1].answer.sentence)}**" in markdown
    assert "rejected although its mean score on the niches ranks 1st of 11" in markdown
    assert "```mermaid\nflowchart LR" in markdown
    assert f"mergelab verify {lab[1].answer.subject}" in markdown
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("| ")}
    assert widths <= {9, 10, 4}  # subjects, checks, reasons


def test_the_terminal_table_needs_the_reports_alone(lab: tuple[Path, Results]) -> None:
    shown = printed(lab[0])
    assert lab[1].answer.sentence.split(":")[0] in shown
    for merge in MERGES:
        assert merge.id[:PREFIX] in shown
    assert "lost: rare skill upper" in shown


def test_a_refused_experiment_has_all_five_files(tmp_path: Path) -> None:
    run(EXPERIMENT, QUICK, refused(tmp_path / "data"), tmp_path / "reports")
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == sorted(FILES)
    page = (tmp_path / "reports" / "report.html").read_text()
    assert "Refused: these parents may not be merged (tokenizer)." in page
    assert "distillation" in page
    assert read_json(tmp_path / "reports" / "front.json") == []
    assert "Refused" in printed(tmp_path / "reports")
    ET.parse(tmp_path / "reports" / "front.svg")


def test_a_heat_map_cell_is_accuracy_over_the_references(lab: tuple[Path, Results]) -> None:
    found = lab[1]
    lossy = next(merge for merge in MERGES if merge.label == "task_arithmetic 1")
    cells = dict(
        next(
            [(task.name, one) for task, one in cells]
            for row, cells in heat_map(view(found))
            if row.id == lossy.id
        )
    )
    study = found.trial.study
    worse = min(study.answers(parent, "upper").accuracy for parent in EXPERIMENT.parents)
    assert cells["upper"].retention == pytest.approx(study.answers(lossy.id, "upper").accuracy / worse)
    assert (cells["upper"].level, cells["upper"].state) == (0, "lost")
    assert cells["recall"].retention == found.row(lossy.id).niches[0].retention


def test_a_planted_winners_curse_is_stated(tmp_path: Path, lab: tuple[Path, Results]) -> None:
    honest = winners_curse(lab[1])
    assert honest is not None
    assert abs(honest.gap) < 0.03
    flattered = next(merge for merge in MERGES if merge.label == "linear 1")
    data = build(tmp_path / "data")
    path = data / "evidence" / f"{flattered.id}.json"
    tree = read_json(path)
    for task in ("recall", "sort"):
        tree["results"]["selection"][task]["correct"] = "1" * 40
    path.write_text(json.dumps(tree))
    curse = winners_curse(run(EXPERIMENT, QUICK, data, tmp_path / "reports"))
    assert curse is not None
    assert curse.winner.id == flattered.id
    assert curse.winner_gap == pytest.approx(1 - (curse.winner.mean or 0))
    assert "promised too much" in curse_in_words(curse)


def test_three_niches_are_drawn_as_mean_against_minimum(tmp_path: Path) -> None:
    data = build(tmp_path / "data")
    index = read_json(data / "evidence" / "index.json")
    index["tasks"]["copy"] |= {"kind": "niche:c", "parent": "pico-c"}
    index["subjects"].insert(1, "pico-c")
    (data / "evidence" / "index.json").write_text(json.dumps(index))
    third = read_json(data / "evidence" / "pico-a.json")
    third["subject"]["id"] = "pico-c"
    base = read_json(data / "evidence" / "base.json")
    base["results"]["hidden"]["copy"]["correct"] = "01" * 60
    (data / "evidence" / "base.json").write_text(json.dumps(base))
    (data / "evidence" / "pico-c.json").write_text(json.dumps(third))
    experiment = replace(EXPERIMENT, parents=(*EXPERIMENT.parents, "pico-c"))
    found = run(experiment, QUICK, data, tmp_path / "reports")
    assert found.axes == ("mean accuracy over the niches", "least accuracy over the niches")
    row = found.row(MERGES[0].id)
    assert row.x is not None
    assert row.y is not None
    accuracies = [score.accuracy.value for score in row.niches]
    assert (row.x.value, row.y.value) == pytest.approx((sum(accuracies) / 3, min(accuracies)))


def test_the_stage_ends_with_zero_where_the_parents_were_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(tmp_path / "data")
    asked = SimpleNamespace(id="shipped", title=EXPERIMENT.title, question=EXPERIMENT.question)
    parents = SimpleNamespace(base=EXPERIMENT.base, merge=EXPERIMENT.parents)
    request = SimpleNamespace(experiment=asked, parents=parents, policy=QUICK)
    monkeypatch.setattr(stage, "load_request", lambda path: request)
    monkeypatch.chdir(tmp_path)
    assert enter("pareto", stage.work) == 0
    assert "Refused: these parents may not be merged (tokenizer)." in capsys.readouterr().err
    assert (tmp_path / "reports" / "report.html").exists()


def test_a_crowd_of_candidates_is_reported_with_the_necessary_names_alone(tmp_path: Path) -> None:
    merges = [Merge("ties", f"ties {n}", skill(0.6 + 0.0017 * n, 0.95 - 0.0017 * n)) for n in range(60)]
    found = results(trial(load(build(tmp_path, merges), EXPERIMENT), policy(front={"bootstrap": 100})))
    names = {label.text for label in layout(found).labels}
    assert set(BASELINES) <= names
    assert len(names) < 20 + sum(row.status == "candidate" for row in found.rows)


def test_a_narrow_terminal_gets_the_table_without_reasons_and_where_to_read_them(
    lab: tuple[Path, Results],
) -> None:
    narrow, wide = printed(lab[0], 80), printed(lab[0])
    assert "mergelab explain ID" in narrow
    assert "mergelab explain ID" not in wide
    assert max(map(len, narrow.splitlines())) <= 80
    assert "reason" in wide


def test_where_the_reference_got_nothing_right_there_is_no_share_of_it_to_show(tmp_path: Path) -> None:
    data = build(tmp_path / "data")
    for parent in EXPERIMENT.parents:
        path = data / "evidence" / f"{parent}.json"
        tree = read_json(path)
        answers = tree["results"]["hidden"]["recall_longer"]
        write_json(path, tree | {"results": _with_none_right(tree["results"], len(answers["correct"]))})
    found = run(EXPERIMENT, QUICK, data, tmp_path / "reports")
    cells = [cell for _, row in heat_map(view(found)) for task, cell in row if task.name == "recall_longer"]
    assert {cell.retention for cell in cells} == {None}
    assert ">—<" in (tmp_path / "reports/report.html").read_text()


def _with_none_right(results: Json, count: int) -> Json:
    hidden = results["hidden"]
    return results | {
        "hidden": hidden | {"recall_longer": hidden["recall_longer"] | {"correct": "0" * count}}
    }
