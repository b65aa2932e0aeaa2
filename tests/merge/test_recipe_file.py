"""Our recipe YAML: what it says, and everything that may be wrong with it, told at once."""

from pathlib import Path

import pytest

from stages.core.errors import BadRequest
from stages.merge.recipe_file import Folders, Named, folders, load

RECIPES = Path(__file__).parent / "recipes"


@pytest.fixture
def where(tmp_path: Path) -> Folders:
    for name in ("base", "left", "right"):
        (tmp_path / name).mkdir()
    return Folders(tmp_path, {})


def problems(text: str, where: Folders) -> list[str]:
    path = where.root / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(BadRequest, match=r"recipe\.yaml: ") as refused:
        load(path, where)
    return [problem.removeprefix(f"{path}: ") for problem in refused.value.problems]


def test_a_recipe_reads_with_folders_order_defaults_and_seed(where: Folders) -> None:
    read = load(RECIPES / "ours.yaml", where)
    assert read.parents == (Named(where.root / "left"), Named(where.root / "right", "second"))
    assert read.base == Named(where.root / "base")
    assert read.parameters == {
        "density": 0.5,
        "weights": (0.6, 0.4),
        "scale": 1.0,
        "election": "sum_weighted",
        "divisor": "surviving_weights",
    }
    assert (read.output_dtype, read.seed, read.dialect, read.notes) == ("bfloat16", 3, "mergelab", ())


def test_every_problem_is_told_at_once_with_its_key(where: Folders) -> None:
    found = problems(
        "method: ties\nparents: [left, wrong]\nparameters: {densty: 0.2, scale: 99}\noutput: x\nseed: -1\n",
        where,
    )
    assert [problem.split(":")[0] for problem in found] == [
        "output",
        "seed",
        "parents[1]",
        "parameters.densty is unknown. Did you mean 'density'?",
        "parameters.scale",
        "base",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method: liner\nparents: [left, right]\n", "method 'liner' is unknown. Did you mean 'linear'?"),
        ("parents: [left, right]\n", "method: missing (a recipe of mergekit has merge_method instead)"),
        ("method: linear\nparents: left\n", "parents: expected a list of folders, got 'left'"),
        (
            "method: linear\nparents: [left, 3]\n",
            "parents[1]: expected a folder, or {id: …, path: …}, got '3'",
        ),
        ("method: linear\nparents: [left]\n", "linear takes 2 to 64 parents, got 1"),
        ("method: linear\nparents: [left, right]\nparameters: 3\n", "parameters: expected a map, got '3'"),
        ("method: linear\nparents: [left, right]\nseed: true\n", "seed: expected a whole number"),
        (
            "method: linear\nparents: [left, right]\noutput_dtype: int8\n",
            "output_dtype: expected one of float",
        ),
        ("method: linear\nmethod: ties\n", "method: written twice. YAML keeps the last; remove one"),
        ("a: {b: [{c: 1, c: 2}]}\n", "a.b[0].c: written twice"),
        ("- 1\n", "expected a map with the keys method, base"),
        ("{", "not YAML of one document"),
        ("method: linear\n---\nmethod: ties\n", "not YAML of one document"),
        ("a: &a [*a]\n", "not YAML of ours: nested more than 64 deep, by an alias"),
        ("a: !!python/object/apply:os.system [ls]\n", "not YAML of one document"),
    ],
)
def test_a_malformed_recipe_is_refused_by_key(text: str, expected: str, where: Folders) -> None:
    assert any(problem.startswith(expected) for problem in problems(text, where))


def test_aliases_that_multiply_are_refused_before_they_are_expanded(where: Folders) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert problems("\n".join(lines), where) == ["not YAML of ours: more than 10000 entries"]


def test_a_name_is_mapped_to_a_folder_by_option(where: Folders) -> None:
    mapped = folders(where.root, ["org/a=left", "org/b=right"])
    path = where.root / "recipe.yaml"
    path.write_text("method: linear\nparents: [org/a, org/b]\n")
    assert [one.folder.name for one in load(path, mapped).parents] == ["left", "right"]


def test_an_option_without_a_folder_is_refused(where: Folders) -> None:
    with pytest.raises(BadRequest, match="--models org/a: expected NAME=FOLDER"):
        folders(where.root, ["org/a"])


def test_a_recipe_that_is_not_there_is_refused(where: Folders) -> None:
    with pytest.raises(BadRequest, match="No such file or directory"):
        load(where.root / "none.yaml", where)
