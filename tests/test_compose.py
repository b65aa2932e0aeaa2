"""Configuration: composed by Hydra, checked whole, every problem told at once."""

import shutil
from pathlib import Path

import pytest
import yaml

from stages.compose import check, compose, request
from stages.conf import load_request, parse
from stages.core.errors import BadRequest
from stages.merge.space import space
from tests.architecture.tree import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of what a configuration is checked against."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    shutil.copytree(ROOT / "data/sources", tmp_path / "data/sources")
    shutil.copy2(ROOT / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_configurations_that_ship_have_no_problem() -> None:
    assert check(ROOT) == []


def test_the_committed_params_are_what_the_default_composes() -> None:
    assert (ROOT / "params.yaml").read_text() == compose(ROOT, []).text


def test_methods_compose_side_by_side(root: Path) -> None:
    checked, _ = request(root, ["method=[slerp,ties]"])
    assert list(checked.method) == ["slerp", "ties"]


def test_an_override_reaches_one_number(root: Path) -> None:
    checked, _ = request(root, ["method=ties", "method.ties.density.value=0.31"])
    assert checked.method["ties"].parameters["density"].value == 0.31


def test_every_wrong_override_is_told_at_once_with_the_nearest_name(root: Path) -> None:
    with pytest.raises(BadRequest) as told:
        compose(root, ["method=tise", "budget.candidats=3", "polcy=strict"])
    first, second, third = told.value.problems
    assert "conf/method/tise.yaml does not exist; did you mean 'ties'?" in first
    assert "unknown key 'budget.candidats'; did you mean 'budget.candidates'?" in second
    assert "polcy" in third


def test_every_wrong_key_and_value_is_told_at_once_with_its_file(root: Path) -> None:
    edit(root / "conf/budget/small.yaml", "candidates: 24", "candidates: many")
    edit(root / "conf/executor/process.yaml", "workers:", "workrs:")
    edit(root / "conf/method/ties.yaml", "density:", "densty:")
    problems = check(root)
    assert any(p.startswith("conf/budget/small.yaml: budget.candidates:") and "'many'" in p for p in problems)
    assert any(
        "conf/executor/process.yaml: executor.workrs: unknown key; did you mean 'workers'?" in p
        for p in problems
    )
    assert any(p.startswith("conf/executor/process.yaml: executor.workers: missing") for p in problems)


def test_a_misspelt_method_parameter_is_told_with_its_file_and_the_nearest_name(root: Path) -> None:
    edit(root / "conf/method/ties.yaml", "density:", "densty:")
    (problem,) = check(root)
    assert problem.startswith("conf/method/ties.yaml: method.ties.densty")
    assert "'density'" in problem


def test_a_search_range_beyond_the_legal_one_is_told(root: Path) -> None:
    tree = yaml.safe_load((root / "conf/method/ties.yaml").read_text())
    tree["ties"]["density"]["search"] = [0.1, 5]
    (root / "conf/method/ties.yaml").write_text(yaml.safe_dump(tree))
    assert any("method.ties.density" in problem and "5" in problem for problem in check(root))


RULES = """
method:
  ties:
    density:
      value:
        - {match: "*.mlp.*", layers: [0.2, [0.4, 0.6]], outside: 0.3}
        - {match: "*", value: 0.1}
      search: null
    weights: {value: [0.6, 0.4], search: null}
    lines: {value: [0.2, 0.8, 1.0]}
"""


def ruled(root: Path, old: str = "", new: str = "") -> None:
    """conf/experiment/ruled.yaml: TIES alone, with RULES, `old` replaced by `new`."""
    shipped = (root / "conf/experiment/shipped.yaml").read_text()
    head = shipped.replace("experiment:", "defaults:\n  - override /method: ties\nexperiment:", 1)
    assert old in RULES
    (root / "conf/experiment/ruled.yaml").write_text(head + RULES.replace(old, new, 1))


def test_rules_and_lines_of_a_request_reach_the_recipe_as_written(root: Path) -> None:
    ruled(root)
    checked, text = request(root, ["experiment=ruled"])
    (root / "params.yaml").write_text(text)
    assert load_request(root / "params.yaml") == checked
    anchor = space("ties", checked.method["ties"], 2).anchor
    assert str(anchor["density"]) == "*.mlp.*: 0.2, 0.2 … 0.4, 0.6, outside layers 0.3, 0.3; *: 0.1"
    assert (anchor["weights"], anchor["lines"]) == ((0.6, 0.4), (0.2, 0.8, 1.0))
    assert check(root) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('match: "*.mlp.*"', "mtch: x", "density: expected {match, value} or {match, layers}, with outside"),
        ("[0.4, 0.6]", "[0.4, 6]", "density: *.mlp.*: expected 0 to 1, got 6"),
        ('match: "*"', 'match: "*.x"', "density: the last rule must have match '*'"),
        ("[0.2, 0.8, 1.0]", "[0.2, 0.8]", "lines: expected [a, b, factor outside layers], got"),
        (
            "search: null",
            "search: [0.1, 0.5]",
            "density.search: a search moves numbers, and the value is a list",
        ),
        ("1.0]}", "1.0], search: [0.1, 0.5]}", "lines.search: a search moves numbers, and lines is a curve"),
    ],
)
def test_a_wrong_rule_is_told_with_its_file_and_key(root: Path, old: str, new: str, problem: str) -> None:
    ruled(root, old, new)
    (found,) = check(root)
    assert found.startswith(f"conf/experiment/ruled.yaml: method.ties.{problem}")


def test_every_wrong_rule_is_told_at_once(root: Path) -> None:
    ruled(root, "outside: 0.3}", "outside: x}")
    edit(root / "conf/experiment/ruled.yaml", "[0.6, 0.4], search: null", "[0.6, 0.4, 0.2], search: null")
    edit(root / "conf/experiment/ruled.yaml", "[0.2, 0.8, 1.0]", "3")
    assert [found.split(": ")[1] for found in check(root)] == [
        "method.ties.lines",
        "method.ties.density",
        "method.ties.weights",
    ]


def test_a_search_over_rules_is_refused_by_the_stages_too(root: Path) -> None:
    ruled(root, "search: null", "search: [0.1, 0.5]")
    found = parse(yaml.safe_load(compose(root, ["experiment=ruled"]).text), "")
    with pytest.raises(BadRequest, match=r"method\.ties\.density\.search: a search moves numbers"):
        space("ties", found.method["ties"], 2)


def test_a_key_that_an_experiment_sets_is_blamed_on_the_experiment(root: Path) -> None:
    with (root / "conf/experiment/shipped.yaml").open("a") as stream:
        stream.write("budget:\n  candidates: 0\n")
    assert any(
        problem.startswith("conf/experiment/shipped.yaml: budget.candidates") for problem in check(root)
    )


def test_a_parent_that_is_not_there_is_told(root: Path) -> None:
    shutil.rmtree(next((root / "data/sources").iterdir()))
    assert any("no directory 'data/sources/" in problem for problem in check(root))


HUB = {"kind": "hub", "repo": "org/model", "commit": "0" * 40}
NEEDED = dict.fromkeys(("model.safetensors", "config.json", "tokenizer.json"), "0" * 64)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (HUB, "parents.members.pico-a: source.files: missing"),
        (HUB | {"commit": "main", "files": NEEDED}, "parents.members.pico-a.source.commit: expected the 40"),
        (
            HUB | {"files": NEEDED | {"x.bin": "0" * 64}},
            "parents.members.pico-a.source.files: x.bin may run code",
        ),
        (
            HUB | {"files": {"config.json": "0" * 64}},
            "parents.members.pico-a.source.files: model.safetensors is",
        ),
        (HUB | {"files": NEEDED, "revision": "x"}, "parents.members.pico-a.source.revision: unknown key"),
        ({"kind": "local", "path": "/x"}, "parents.members.pico-a.source.kind: unknown 'local'"),
        ({"path": "/x"}, "parents.members.pico-a.source.kind: missing"),
    ],
)
def test_a_source_that_cannot_be_honoured_is_told_without_asking_anybody(
    root: Path, source: dict[str, object], problem: str
) -> None:
    tree = yaml.safe_load((root / "conf/parents/shipped.yaml").read_text())
    tree["members"]["pico-a"]["source"] = source
    (root / "conf/parents/shipped.yaml").write_text(yaml.safe_dump(tree))
    assert any(f": {problem}" in found for found in check(root)), check(root)


def test_a_pinned_source_elsewhere_has_no_problem_but_a_card_that_is_not_there(root: Path) -> None:
    tree = yaml.safe_load((root / "conf/parents/shipped.yaml").read_text())
    tree["members"]["pico-a"] = {"source": HUB | {"files": NEEDED}, "card": "data/sources/nobody.json"}
    (root / "conf/parents/shipped.yaml").write_text(yaml.safe_dump(tree))
    (found,) = check(root)
    assert "parents.members.pico-a.card: no file 'data/sources/nobody.json'" in found


def test_a_task_of_a_parent_that_is_not_merged_is_told(root: Path) -> None:
    tree = yaml.safe_load((root / "params.yaml").read_text())
    name = next(name for name, task in tree["suite"]["tasks"].items() if task.get("parent"))
    tree["suite"]["tasks"][name]["parent"] = "somebody-else"
    (root / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    with pytest.raises(BadRequest, match="'somebody-else' is not merged here"):
        load_request(root / "params.yaml")


@pytest.mark.parametrize(
    ("text", "match"), [("{", "not YAML of one document"), ("", "the request"), ("[1]", "the request")]
)
def test_params_that_are_no_map_are_refused(root: Path, text: str, match: str) -> None:
    (root / "params.yaml").write_text(text)
    with pytest.raises(BadRequest, match=match):
        load_request(root / "params.yaml")
