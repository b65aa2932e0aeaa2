"""Byte budgets: which regions are chosen, what is read, and how far the result is from the full merge."""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from stages.core.errors import BadCheckpoint, BadRequest, LabError, Unmergeable
from stages.core.records import recipe as recipes
from stages.core.records.canonical import from_hex
from stages.core.weights import budget, engine, registry, writer
from stages.core.weights.budget import Choice
from stages.core.weights.chosen import Ration
from stages.core.weights.kernels import ready
from stages.core.weights.kernels.fast import Fast
from stages.core.weights.numerics import REGION
from stages.core.weights.plan import Plan
from stages.core.weights.reader import INDEX, Checkpoint
from stages.core.weights.regions import Index, Regions
from tests.core.weights.family import LABELS, Family, planned, recipe, save
from tests.core.weights.regional import LONG, distance, indexes, moved, patched, regional

ALL = 1 << 40
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("task_arithmetic", {"weights": [0.7, -0.2], "scale": 0.9}),
    ("task_arithmetic", {"weights": [1.0, 0.3], "normalise": True, "lines": [0.5, 0.5, 0.25]}),
    ("dare_linear", {"drop": 0.3, "weights": [1.0, 0.5]}),
    ("dare_linear", {"drop": [0.2, 0.6], "rescale": "none"}),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """A base and two parents in float32, of six regions each that may be left unread."""
    return regional(tmp_path_factory.mktemp("regional"))


@pytest.fixture(scope="module")
def measured(made: Family) -> dict[str, Index]:
    """The indexes of both parents."""
    return indexes(made, planned(made, recipe("task_arithmetic")))


def chosen(made: Family, read_bytes: int, method: str = "task_arithmetic", **options: Any) -> Any:
    """A plan with that budget, and its choice."""
    dtype = options.pop("dtype", "float32")
    found = planned(made, recipe(method, dtype=dtype, read_bytes=read_bytes, **options))
    return found, budget.choose(found, indexes(made, found))


def merge(made: Family, found: Plan, choice: Choice | None, output: Path, **options: Any) -> engine.Merged:
    writer.preallocate(found, output)
    return engine.execute(found, made.sources, made.manifests, output, choice=choice, **options)


# --- the choice, by hand ---


def tiny(root: Path, read_bytes: int, **options: Any) -> Plan:
    """Two parents with 24 bytes of integers, a of 16 bytes and b of 8; shares 0.5 and 1."""
    made = Family(root, {}, {})
    for place, label in enumerate(LABELS[:3]):
        if not (root / f"member-{place}").is_dir():
            made.add(label, {"a": torch.ones(4), "b": torch.ones(2), "ids": torch.arange(3)})
        made.sources[label] = root / f"member-{place}"
    given = {"weights": [1, 2], "scale": 0.5, "read_bytes": read_bytes, **options}
    return planned(made, recipe("task_arithmetic", dtype="float32", **given))


def known(*squares: float) -> Index:
    digest = ("0" * 64,)
    return {name: Regions((one,), digest) for name, one in zip(("a", "b", "ids"), squares, strict=True)}


# worth for each byte: 16 / 4 / 16 and 16 / 4 / 8 in parent 1, 4 / 16 and 1 / 8 in parent 2
TINY = {LABELS[1]: known(16.0, 16.0, 0.0), LABELS[2]: known(4.0, 1.0, 0.0)}


@pytest.mark.parametrize(
    ("read_bytes", "read", "taken", "bound"),
    [
        (48, 48, "", math.sqrt(8) + math.sqrt(5)),
        (55, 48, "", math.sqrt(8) + math.sqrt(5)),
        (56, 56, "1b", 2 + math.sqrt(5)),
        (71, 56, "1b", 2 + math.sqrt(5)),  # 2b would fit; reading stopped at 1a, so that budgets nest
        (72, 72, "1b 1a", math.sqrt(5)),  # 1a and 2a are worth the same: the first parent's goes first
        (88, 88, "1b 1a 2a", 1.0),
        (95, 88, "1b 1a 2a", 1.0),
        (96, 96, "1b 1a 2a 2b", 0.0),
        (ALL, 96, "1b 1a 2a 2b", 0.0),
    ],
)
def test_regions_are_read_by_worth_for_each_byte_until_one_no_longer_fits(
    tmp_path: Path, read_bytes: int, read: int, taken: str, bound: float
) -> None:
    choice = budget.choose(tiny(tmp_path, read_bytes), TINY)
    wanted = {(int(word[0]), word[1]): (True,) for word in taken.split()}
    left = {(place, name): (False,) for place in (1, 2) for name in "ab"}
    integers = {(place, "ids"): (True,) for place in (1, 2)}
    assert choice.regions == {**left, **wanted, **integers}
    assert (choice.limit, choice.read, choice.held) == (read_bytes, read, 96)
    assert choice.bound == pytest.approx(bound, rel=1e-15)
    assert choice.whole == pytest.approx(math.sqrt(8) + math.sqrt(5), rel=1e-15)


def test_equal_worth_goes_by_parent_then_output_order_then_region(tmp_path: Path) -> None:
    equal = known(16.0, 8.0, 0.0)  # a and b hold as much for each byte
    found = tiny(tmp_path, 48 + 16, normalise=False)
    assert [job.name for job in found.jobs] == ["ids", "a", "b"]
    other = {name: dataclasses.replace(one, squares=(one.squares[0] / 4,)) for name, one in equal.items()}
    choice = budget.choose(found, {LABELS[1]: equal, LABELS[2]: other})
    assert [key for key, read in choice.regions.items() if read == (True,) and key[1] != "ids"] == [(1, "a")]


def test_lines_scale_the_bound_like_the_merged_delta(tmp_path: Path) -> None:
    plain = budget.choose(tiny(tmp_path / "1", 56), TINY)
    halved = budget.choose(tiny(tmp_path / "2", 56, lines=[1.0, 0.0, -0.5]), TINY)  # -0.5 outside layers
    assert (halved.bound, halved.whole) == (plain.bound / 2, plain.whole / 2)
    assert halved.regions == plain.regions


def test_a_weight_of_zero_makes_a_parent_worth_nothing(tmp_path: Path) -> None:
    made = regional(tmp_path)
    read = 4 * (LONG + 99 + 515 * 512) + 2 * 24
    _, choice = chosen(made, read, weights=[0.0, 1.0])
    taken = {
        place: all(all(choice.regions[place, name]) for name in ("long", "norm", "wide")) for place in (1, 2)
    }
    assert (taken, choice.bound) == ({1: False, 2: True}, 0.0)


def test_the_gains_are_the_shares_without_their_signs() -> None:
    for method, options, expected in (
        ("task_arithmetic", {"weights": [0.5, -0.25], "scale": 0.5}, (0.25, 0.125)),
        ("dare_linear", {"weights": [0.5, -0.25], "scale": 0.5, "drop": 0.5}, (0.5, 0.25)),
        ("dare_linear", {"weights": [0.5, -0.25], "scale": 0.5, "rescale": "none"}, (0.25, 0.125)),
    ):
        found = registry.get(method)
        assert found.gain is not None
        assert found.gain(found.coefficients(registry.resolve(method, options, 2))) == expected


# --- properties ---


def with_budget(found: Plan, read_bytes: int) -> Plan:
    """The same plan under another budget."""
    parameters = {**found.recipe.parameters, "read_bytes": read_bytes}
    return dataclasses.replace(found, recipe=dataclasses.replace(found.recipe, parameters=parameters))


@settings(deadline=None)
@given(budgets=st.tuples(st.integers(48, 6_500_000), st.integers(48, 6_500_000)))
def test_a_larger_budget_reads_all_that_a_smaller_one_reads_and_its_bound_is_never_larger(
    made: Family, measured: dict[str, Index], budgets: tuple[int, int]
) -> None:
    found = planned(made, recipe("task_arithmetic", weights=[1.0, 0.7], dtype="float32", read_bytes=ALL))
    low, high = (budget.choose(with_budget(found, one), measured) for one in sorted(budgets))
    assert low.read <= high.read <= high.limit
    assert high.bound <= low.bound <= low.whole == high.whole
    for key, regions in low.regions.items():
        assert all(later or not earlier for earlier, later in zip(regions, high.regions[key], strict=True))


@settings(deadline=None)
@given(
    squares=st.lists(st.floats(0, 1e6), min_size=4, max_size=4),
    weights=st.lists(st.floats(-2, 2, width=16), min_size=2, max_size=2).filter(any),
    read_bytes=st.integers(48, 100),
)
def test_what_is_left_over_is_less_than_the_next_region(
    made: Family, squares: list[float], weights: list[float], read_bytes: int
) -> None:
    choice = budget.choose(
        tiny(made.root / "tiny", read_bytes, weights=weights),
        {LABELS[1]: known(*squares[:2], 0.0), LABELS[2]: known(*squares[2:], 0.0)},
    )
    assert choice.read <= read_bytes
    assert choice.read == choice.held or read_bytes - choice.read < 16


# --- merges ---


@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_budget_for_everything_gives_the_bytes_of_the_full_merge(
    tmp_path: Path, method: str, options: dict[str, Any], dtype: str
) -> None:
    made = regional(tmp_path / "family", getattr(torch, dtype))
    full = planned(made, recipe(method, dtype=dtype, **options))
    found, choice = chosen(made, budget.held_bytes(full), method, dtype=dtype, **options)
    assert (choice.read, choice.bound) == (choice.held, 0.0)
    assert merge(made, found, choice, tmp_path / "all") == merge(made, full, None, tmp_path / "full")


@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_a_region_left_unread_is_the_base_and_the_error_is_within_the_bound(
    made: Family, tmp_path: Path, method: str, options: dict[str, Any], share: float
) -> None:
    full = planned(made, recipe(method, dtype="float32", **options))
    held = budget.held_bytes(full)
    found, choice = chosen(made, 48 + int(share * (held - 48)), method, **options)
    budgeted = merge(made, found, choice, tmp_path / "budgeted").files
    other = patched(made, tmp_path / "patched", choice.regions, torch.float32)
    assert budgeted == merge(other, full, None, tmp_path / "by hand").files
    assert budgeted != merge(made, full, None, tmp_path / "full").files
    error = distance(*(load_file(tmp_path / name / "model.safetensors") for name in ("budgeted", "full")))
    rounding = (
        2 * 3 * 2**-24 * 2.0 * math.sqrt(held / 4)
    )  # three float32 roundings of each, of numbers below 2
    assert 0.0 < error <= choice.bound + rounding
    if method == "task_arithmetic" and share == 0.0:
        assert error > 0.6 * choice.bound  # it is a bound on this error, and no mere large number


def test_threads_blocks_and_shards_give_the_same_bytes(made: Family, tmp_path: Path) -> None:
    found, choice = chosen(made, 3_000_000)
    assert 0 < sum(not read for regions in choice.regions.values() for read in regions) < 12
    expected = merge(made, found, choice, tmp_path / "out").files
    for threads, block in ((1, 1 << 16), (2, 3 << 16), (3, 1 << 18), (2, 1 << 20)):
        again = merge(
            made, found, choice, tmp_path / f"{threads} {block}", threads=threads, block_elements=block
        )
        assert again.files == expected
    sharded = Family(tmp_path / "sharded", dict(made.sources), dict(made.manifests))
    folder = tmp_path / "shards"
    folder.mkdir()
    tensors, placed = moved(1, torch.float32), {}
    for number, (name, tensor) in enumerate(reversed(tensors.items())):
        save({name: tensor}, folder / f"s{number}.safetensors")
        placed[name] = f"s{number}.safetensors"
    (folder / INDEX).write_text(json.dumps({"weight_map": placed}))
    sharded.adopt(LABELS[1], folder)
    other, choice = chosen(sharded, 3_000_000)
    assert merge(sharded, other, choice, tmp_path / "from shards", threads=2).files == expected


def test_compiled_kernels_write_the_same_bytes(made: Family, tmp_path: Path) -> None:
    found, choice = chosen(made, 3_000_000, lines=[0.5, 0.5, 0.25])
    folder = ready.ensure(found)
    assert folder is not None
    plain = merge(made, found, choice, tmp_path / "plain")
    assert merge(made, found, choice, tmp_path / "quick", backend=Fast(found, folder), threads=2) == plain


def test_into_memory_and_by_stream_come_the_bytes_of_the_file(made: Family, tmp_path: Path) -> None:
    found, choice = chosen(made, 3_000_000)
    merge(made, found, choice, tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    live = {name: torch.zeros_like(tensor) for name, tensor in written.items()}
    engine.merge_into(found, made.sources, live, made.manifests, choice=choice)
    streamed = dict(engine.stream(found, made.sources, made.manifests, choice=choice))
    assert all(torch.equal(live[name], written[name]) for name in written)
    assert all(torch.equal(streamed[name], written[name]) for name in written)


@pytest.mark.parametrize("block", [1 << 16, 1 << 18, 1 << 20])
@pytest.mark.parametrize("read_bytes", [48, 900_000, 3_000_000, ALL])
def test_bytes_read_from_the_parents_files_are_those_told_and_never_more_than_the_budget(
    made: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int, block: int
) -> None:
    found, choice = chosen(made, read_bytes)
    read: dict[Path, int] = {}
    preadv = os.preadv

    def counting(handle: int, buffers: Any, offset: int) -> int:
        got = preadv(handle, buffers, offset)
        path = Path(f"/proc/self/fd/{handle}").readlink()
        read[path] = read.get(path, 0) + got
        return got

    monkeypatch.setattr(os, "preadv", counting)
    merge(made, found, choice, tmp_path / "out", block_elements=block)
    of_parents = sum(read.get(made.sources[label] / "model.safetensors", 0) for label in LABELS[1:3])
    assert of_parents == choice.read <= min(read_bytes, choice.held)
    base = made.sources[LABELS[0]] / "model.safetensors"
    assert read[base] == base.stat().st_size


def test_a_ration_gives_no_byte_more_than_its_limit() -> None:
    ration = Ration(10)
    ration.take(10)
    with pytest.raises(LabError, match="a budget of 10 bytes: 10 are read, 1 more"):
        ration.take(1)
    assert ration.taken == 10


# --- what is refused ---


@pytest.mark.parametrize("threads", [1, 2])
def test_a_region_that_is_used_must_be_the_one_indexed_and_one_left_unread_may_be_anything(
    tmp_path: Path, threads: int
) -> None:
    made = regional(tmp_path / "family")
    found, choice = chosen(made, 3_000_000)
    expected = merge(made, found, choice, tmp_path / "out").files
    path = made.sources[LABELS[1]] / "model.safetensors"
    start = Checkpoint(path.parent).tensors["long"].start
    whole = path.read_bytes()
    for number, used in enumerate(choice.regions[1, "long"]):
        altered = bytearray(whole)
        altered[start + 4 * REGION * number + 5] ^= 1
        path.write_bytes(altered)
        output = tmp_path / f"altered {number}"
        if not used:
            assert merge(made, found, choice, output, threads=threads).files == expected
            continue
        with pytest.raises(BadCheckpoint, match=rf"^\[file-altered\].*region {number} of 'long'"):
            merge(made, found, choice, output, threads=threads)
        with pytest.raises(BadCheckpoint):
            Checkpoint(output)
    assert len(set(choice.regions[1, "long"])) == 2


def test_the_base_is_verified_whole_under_a_budget_too(tmp_path: Path) -> None:
    made = regional(tmp_path / "family")
    found, choice = chosen(made, 900_000)
    path = made.sources[LABELS[0]] / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BadCheckpoint, match=r"^\[file-altered\].*expected sha256"):
        merge(made, found, choice, tmp_path / "out")


def test_a_plan_with_a_budget_and_a_choice_go_together(made: Family, tmp_path: Path) -> None:
    found, choice = chosen(made, 900_000)
    with pytest.raises(LabError, match=r"read_bytes is 900000: hand over what budget\.choose"):
        merge(made, found, None, tmp_path / "without")
    with pytest.raises(LabError, match="read_bytes is None"):
        merge(made, planned(made, recipe("task_arithmetic")), choice, tmp_path / "another")
    with pytest.raises(LabError, match="has no read_bytes"):
        budget.choose(planned(made, recipe("task_arithmetic")), {})
    with pytest.raises(LabError, match="parent 1 has no index of its 5 tensors"):
        budget.choose(found, {LABELS[2]: choice.indexes[2]})


def test_types_that_differ_are_refused_with_the_full_list(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[0], {"a": torch.ones(4), "b": torch.ones(2), "c": torch.ones(2)})
    for label in LABELS[1:3]:
        made.add(label, {"a": torch.ones(4), "b": torch.ones(2).half(), "c": torch.ones(2).bfloat16()})
    with pytest.raises(Unmergeable) as caught:
        planned(made, recipe("task_arithmetic", read_bytes=1000))
    assert str(caught.value).splitlines() == [
        "where a budget leaves a parent unread, the base stands in, so both need one type:",
        "  b: base float32, parent 1 float16, parent 2 float16",
        "  c: base float32, parent 1 bfloat16, parent 2 bfloat16",
        "Convert them to one type, or leave read_bytes out.",
    ]


def test_a_budget_below_the_integer_tensors_is_refused_with_the_least(tmp_path: Path) -> None:
    with pytest.raises(Unmergeable, match=r"expected at least 48, got 47\. Raise it to 48 or more"):
        tiny(tmp_path, 47)


@pytest.mark.parametrize("method", [one.name for one in registry.METHODS if one.gain is None])
def test_a_method_without_a_bound_takes_no_budget_and_is_named(method: str) -> None:
    parents = max(2, registry.get(method).parents[0])
    found = registry.problems(method, {"read_bytes": 1000}, parents)
    expected = f"{method}.read_bytes: {method} has no bound on what parts of parents"
    assert [problem for problem in found if problem.startswith(expected)]
    assert "choose one of task_arithmetic, dare_linear" in "".join(found)


@pytest.mark.parametrize("value", [0, -1, 1.5, 1000.0, True, "1000", None, 1 << 53, [1000]])
def test_a_budget_is_a_whole_number_of_bytes(value: object) -> None:
    (problem,) = registry.problems("task_arithmetic", {"read_bytes": value}, 2)
    assert problem.startswith("task_arithmetic.read_bytes: expected a whole number of bytes from 1")


def test_rescaling_by_norms_takes_no_budget() -> None:
    with pytest.raises(BadRequest, match=r"dare_linear\.read_bytes: rescale l1 measures whole tensors"):
        registry.resolve("dare_linear", {"read_bytes": 1000, "rescale": "l1"}, 2)


# --- what it is called and what is told ---


def test_a_budget_is_part_of_the_recipe_and_a_recipe_without_one_is_what_it_was() -> None:
    plain, one, other = (
        recipe("task_arithmetic", **options) for options in ({}, {"read_bytes": 1000}, {"read_bytes": 1001})
    )
    assert len({plain.id, one.id, other.id}) == 3
    assert "read_bytes" not in plain.to_json()["parameters"]
    assert one.to_json()["parameters"]["read_bytes"] == 1000
    assert recipes.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_a_plan_states_the_budget_and_costs_the_merge_by_it(made: Family) -> None:
    plain = planned(made, recipe("task_arithmetic", dtype="float32"))
    found = planned(made, recipe("task_arithmetic", dtype="float32", read_bytes=900_000))
    tensors = 4 * (LONG + 99 + 515 * 512) + 24
    assert found.describe()["budget"] == {
        "read_bytes": 900_000,
        "least_bytes": 48,
        "bytes_held": 2 * tensors,
        "region_elements": REGION,
    }
    assert "budget" not in plain.describe()
    assert plain.bytes_read - found.bytes_read == 2 * tensors - 900_000
    sizes = [(made.sources[label] / "model.safetensors").stat().st_size for label in LABELS[:3]]
    assert budget.index_bytes(found) == 2 * sizes[0] + sizes[1] + sizes[2]
    assert budget.index_bytes(plain) == 0


def test_the_record_adds_up_and_is_json(made: Family) -> None:
    found, choice = chosen(made, 3_000_000, weights=[1.0, 0.5], scale=1.0)
    told = choice.to_json(found)
    assert json.loads(json.dumps(told)) == told
    skipped = [
        (place, name, n) for (place, name), one in choice.regions.items() for n, r in enumerate(one) if not r
    ]
    assert (told["regions"], told["regions_skipped"]) == (14, len(skipped))
    assert [one["role"] for one in told["parents"]] == ["parent 1", "parent 2"]
    assert sum(one["regions_skipped"] for one in told["parents"]) == len(skipped)
    squares = {1: 0.0, 2: 0.0}
    for place, name, number in skipped:
        squares[place] += choice.indexes[place][name].squares[number]
    expected = math.sqrt(squares[1]) + 0.5 * math.sqrt(squares[2])
    assert from_hex(told["bound"]) == pytest.approx(expected, rel=1e-12)
    assert (
        f"reads {choice.read} of {choice.held} bytes of the parents, skips {len(skipped)} of 14"
        in choice.text()
    )
