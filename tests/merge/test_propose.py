import pytest

from stages.conf import Method
from stages.core.records.recipe import Recipe
from stages.merge.propose import Family, propose, search_record
from stages.merge.space import Space, space

FAMILY = Family("0" * 64, ("a" * 64, "b" * 64), "bfloat16", seed=3)
TIES = Method.model_validate(
    {
        "version": 1,
        "source": "arXiv 2306.01708",
        "density": {"value": 0.2, "search": [0.05, 0.6]},
        "weights": {"value": 1.0, "search": [0.3, 1.0]},
        "election": {"value": "sum_weighted", "search": ["sum_weighted", "count"]},
    }
)
FIXED = Method.model_validate(
    {"version": 1, "source": "arXiv 2203.05482", "weights": {"value": [0.25, 0.75]}}
)


@pytest.fixture
def ties() -> Space:
    return space("ties", TIES, parents=2)


def recipes(spaces: list[Space], candidates: int, family: Family = FAMILY) -> list[Recipe]:
    return [recipe for recipe, _ in propose(spaces, family, candidates)]


def test_a_per_parent_parameter_is_one_axis_for_each_parent(ties: Space) -> None:
    assert [(axis.parameter, axis.position) for axis in ties.axes] == [
        ("density", None),
        ("weights", 0),
        ("weights", 1),
        ("election", None),
    ]


def test_the_corners_of_the_cube_are_the_ends_of_the_ranges(ties: Space) -> None:
    low = ties.at([0.0, 0.0, 0.0, 0.0])
    assert (low["density"], low["weights"], low["election"]) == (0.05, (0.3, 0.3), "sum_weighted")
    high = ties.at([1 - 2**-53] * 4)
    assert (high["density"], high["weights"], high["election"]) == (0.6, (1.0, 1.0), "count")


def test_a_density_for_each_parent_is_searched_on_an_axis_for_each() -> None:
    method = Method.model_validate(
        {"version": 1, "source": "x", "density": {"value": [0.2, 0.4], "search": [0.05, 0.6]}}
    )
    found = space("ties", method, parents=2)
    assert [(axis.parameter, axis.position) for axis in found.axes] == [("density", 0), ("density", 1)]
    assert found.at([0.0, 0.5])["density"] == (0.05, 0.325)
    assert found.at([0.5, 0.5])["density"] == 0.325  # as the registry resolves it: one merge, one recipe


def test_parameters_that_are_not_searched_keep_their_stated_value(ties: Space) -> None:
    assert ties.at([0.5] * 4)["scale"] == ties.anchor["scale"]


def test_the_anchor_of_every_method_comes_before_any_searched_point(ties: Space) -> None:
    found = propose([ties, space("linear", FIXED, 2)], FAMILY, 6)
    assert [proposal.origin for _, proposal in found] == [
        "anchor",
        "anchor",
        "sobol",
        "sobol",
        "sobol",
        "sobol",
    ]
    assert found[0][0].parameters["density"] == 0.2
    assert found[1][0].parameters["weights"] == (0.25, 0.75)


def test_a_longer_budget_extends_a_shorter_one(ties: Space) -> None:
    assert recipes([ties], 20)[:7] == recipes([ties], 7)


def test_proposals_are_distinct_and_repeat_exactly(ties: Space) -> None:
    first = recipes([ties], 40)
    assert len({recipe.id for recipe in first}) == 40
    assert recipes([ties], 40) == first


def test_another_seed_searches_other_points_around_the_same_anchor(ties: Space) -> None:
    other = recipes([ties], 8, Family(FAMILY.base, FAMILY.parents, "bfloat16", seed=4))
    assert other[0] == recipes([ties], 8)[0]
    assert not {recipe.id for recipe in other[1:]} & {recipe.id for recipe in recipes([ties], 8)[1:]}


def test_a_space_without_axes_gives_its_anchor_and_no_more() -> None:
    assert len(propose([space("linear", FIXED, 2)], FAMILY, 10)) == 1


def test_sobol_points_fill_both_halves_of_every_range(ties: Space) -> None:
    densities = [float(recipe.parameters["density"]) for recipe in recipes([ties], 33)[1:]]  # type: ignore[arg-type]
    below = sum(density < 0.325 for density in densities)
    assert 12 <= below <= 20


def test_a_method_without_masks_has_one_identity_for_all_seeds() -> None:
    linear = space("linear", FIXED, 2)
    assert recipes([linear], 1)[0].seed == 0
    assert recipes([linear], 1, Family(FAMILY.base, FAMILY.parents, "bfloat16", 9)) == recipes([linear], 1)


def test_the_recorded_search_changes_with_its_space_and_budget(ties: Space) -> None:
    wider = TIES.model_copy(update={"version": 1})
    wider.__pydantic_extra__["density"] = wider.parameters["density"].model_copy(
        update={"search": (0.05, 0.7)}
    )
    records = [
        search_record([ties], 8),
        search_record([ties], 9),
        search_record([space("ties", wider, 2)], 8),
    ]
    assert len({str(record) for record in records}) == 3
