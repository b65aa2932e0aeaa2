from dataclasses import replace

import pytest

from stages.core.errors import LabError
from stages.core.records.recipe import Recipe, Rule, Rules, cell, from_json, plain, readable

RECIPE = Recipe(
    method="ties",
    method_version=1,
    base="0" * 64,
    parents=("a" * 64, "b" * 64),
    parameters={"weights": (0.5, 0.25), "density": 0.2, "election": "sum", "normalise": True},
    seed=7,
    output_dtype="bfloat16",
    numerics=1,
)


def test_the_id_is_the_head_of_a_digest_that_never_moves() -> None:
    # the RFC 8785 text written out by hand and given to sha256sum
    assert RECIPE.digest.startswith(RECIPE.id)
    assert RECIPE.digest == "9c987d821da8dcff8361ab41b1af18e2da0fb63de82992b797c4b237a742bb34"


@pytest.mark.parametrize(
    "change",
    [
        {"method": "dare_ties"},
        {"method_version": 2},
        {"base": None},
        {"parents": ("b" * 64, "a" * 64)},
        {"parameters": {**RECIPE.parameters, "density": 0.2 + 2**-54}},
        {"parameters": {**RECIPE.parameters, "normalise": False}},
        {"seed": 8},
        {"output_dtype": "float32"},
        {"numerics": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_part_of_the_identity(change: dict[str, object]) -> None:
    assert replace(RECIPE, **change).digest != RECIPE.digest


def test_the_order_in_which_parameters_were_given_is_not() -> None:
    backwards = dict(reversed(list(RECIPE.parameters.items())))
    assert replace(RECIPE, parameters=backwards).digest == RECIPE.digest


def test_a_recipe_read_back_is_equal() -> None:
    assert from_json(RECIPE.to_json()) == RECIPE


def test_a_parameter_of_one_does_not_collide_with_true_or_with_a_list_of_one() -> None:
    rules = Rules((Rule("*", ((1.0,),)),))
    ids = [replace(RECIPE, parameters={"x": value}).digest for value in (1.0, True, 1, (1.0,), "1", rules)]
    assert len(set(ids)) == 6


@pytest.mark.parametrize("tree", [{}, {"schema": "mergelab/recipe/2"}, None, {"schema": "mergelab/recipe/1"}])
def test_anything_else_is_refused(tree: object) -> None:
    with pytest.raises(LabError, match="recipe"):
        from_json(tree)


def test_rules_read_the_same_from_the_value_and_from_what_was_written_and_stay_in_their_cell() -> None:
    rules = Rules((Rule("*.m|p.*", ((0.2,), (1.0,)), (0.5,)), Rule("*", ((0.3, 0.4),))))
    words = "*.m|p.*: 0.2 … 1, outside layers 0.5; *: 0.3, 0.4"
    assert str(rules) == readable(plain(rules)) == words
    assert cell(rules) == "`" + words.replace("|", "\\|") + "`"
    assert [readable(value) for value in (0.2, [0.2, 0.3], "sum", True)] == [
        "0.2",
        "[0.2, 0.3]",
        "sum",
        "True",
    ]
    assert cell((0.2, 0.3)) == "(0.2, 0.3)"
