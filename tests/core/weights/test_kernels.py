"""Compiled kernels: every method, option, type and size merges to the bytes of the plain coding."""

import ctypes
import itertools
import json
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.core.errors import Unmergeable
from stages.core.records.recipe import Recipe
from stages.core.weights import engine, registry, writer
from stages.core.weights.kernels import catalogue, compiling, elements, fast, measuring, ready
from stages.core.weights.kernels.catalogue import kernel
from stages.core.weights.kernels.fast import Fast
from stages.core.weights.kernels.loading import load
from stages.core.weights.method import Method
from tests.core.weights.family import LABELS, Family, family, planned, recipe, values
from tests.core.weights.merging import checkpoints, coded, compiled
from tests.core.weights.test_every_option import LEAF, cases, member, parents_of, small
from tests.reference import table

FLOATS = ("bfloat16", "float32", "float16")
TYPES = [*((name, name) for name in FLOATS), ("bfloat16", "float32"), ("float32", "float16")]
RUNS = ((1, LEAF), (2, 4 * LEAF))  # (threads, block_elements)
CODED = [method.name for method in registry.METHODS if method.kernel is not None]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """Seventeen checkpoints in each parent type."""
    return {d: family(tmp_path_factory.mktemp(d), getattr(torch, d), parents=16) for d in FLOATS}


@pytest.fixture(scope="module")
def generic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of kernels from bfloat16 to bfloat16 for the least of all x86-64 processors."""
    if platform.machine() != "x86_64":
        pytest.skip("another instruction set")
    folder = tmp_path_factory.mktemp("generic")
    for name in catalogue.ARGUMENTS:
        one = kernel(name, "bfloat16", "bfloat16")
        ready.make(folder, one, compiling.compile_kernel(one, cpu="x86-64"))
    return folder


def files(made: Family, wanted: Any, output: Path, backend: Any, **options: int) -> Any:
    plan = planned(made, wanted)
    writer.preallocate(plan, output)
    return engine.execute(plan, made.sources, made.manifests, output, backend=backend, **options)


@pytest.fixture(scope="module")
def small_members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """Seventeen checkpoints in each type: the tensors of test_every_option.py, and one over a leaf long."""
    found = {}
    for dtype in FLOATS:
        states = []
        for place in range(17):
            tensors = small(place) | {"longer": member(place, {"longer": LEAF + 3003})["longer"]}
            states.append({name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors.items()})
        found[dtype] = checkpoints(tmp_path_factory.mktemp(dtype), *states)
    return found


def assert_alike(made: Family, wanted: Recipe, output: Path, runs: Sequence[tuple[int, int]]) -> None:
    """Hold the bytes, digests and notes of kernels against those of the plain coding.

    runs: threads and block size of each merge by kernels.
    """
    backend = compiled(planned(made, wanted))
    plain = files(made, wanted, output / "plain", None)
    for threads, block in runs:
        quick = files(made, wanted, output / str(threads), backend, threads=threads, block_elements=block)
        assert quick == plain, f"{wanted.method} {dict(wanted.parameters)}"


@pytest.mark.parametrize(
    ("method", "parents"),
    [(method.name, parents) for method in registry.METHODS for parents in parents_of(method)],
)
def test_kernels_write_the_bytes_of_the_plain_coding_for_every_choice_and_number(
    small_members: Any, tmp_path: Path, method: str, parents: int
) -> None:
    """Each case of test_every_option.py in which a kernel takes part; the types take turns.

    For sixteen parents the defaults and the first setting: how many there are decides nothing but loops.
    """
    chosen = cases(registry.get(method), parents)
    if parents > 3:
        chosen = [{}, *table.ENTRIES[method].settings(parents)[:1]]
    turns = itertools.cycle(TYPES[place % len(TYPES)] for place in range(parents, parents + len(TYPES)))
    for place, options in enumerate(chosen):
        read, written = next(turns)
        wanted = recipe(method, parents=parents, dtype=written, **options)
        if coded(method, parents, options):
            assert_alike(small_members[read], wanted, tmp_path / str(place), [(2, LEAF)])
        else:
            assert ready.ensure(planned(small_members[read], wanted)) is None


@pytest.mark.parametrize("types", TYPES, ids="-".join)
@pytest.mark.parametrize("method", [method for method in registry.METHODS if coded(method.name, 2, {})])
def test_kernels_write_the_bytes_of_the_plain_coding_in_every_type(
    members: Any, tmp_path: Path, method: Method, types: tuple[str, str]
) -> None:
    """On tensors of up to three leaves: the defaults, and the first setting of the table."""
    read, written = types
    for place, options in enumerate([{}, *table.ENTRIES[method.name].settings(2)[:1]]):
        assert_alike(
            members[read], recipe(method.name, dtype=written, **options), tmp_path / str(place), RUNS
        )


@pytest.mark.parametrize("types", TYPES, ids="-".join)
def test_masks_and_their_norms_are_alike_in_every_type(
    members: Any, tmp_path: Path, types: tuple[str, str]
) -> None:
    for method in ("dare_linear", "dare_ties"):
        wanted = recipe(method, dtype=types[1], drop=[0.3, 0.7], rescale="l1")
        assert_alike(members[types[0]], wanted, tmp_path / method, RUNS)


@pytest.mark.parametrize("size", [1, 2, 3, 99, 2047, 2048, 2049, 2**16 - 1, 2**16, 2**16 + 1, 2**17 + 7])
@pytest.mark.parametrize("method", CODED)
def test_kernels_merge_every_size_alike(tmp_path: Path, method: str, size: int) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, seed in zip(LABELS, (1, 2, 3), strict=False):
        made.add(label, {"w": values(seed, (size,), 1.0, torch.bfloat16).abs()})
    wanted = recipe(method, **({"rescale": "l1"} if method.startswith("dare") else {}))
    backend = compiled(planned(made, wanted))
    assert files(made, wanted, tmp_path / "a", backend) == files(made, wanted, tmp_path / "b", None)


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 1.0])
def test_kernels_select_alike_among_many_equal_magnitudes(
    tmp_path: Path, keep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.core.weights.selection.COLLECTED", 1000)  # count instead of collecting
    made = Family(tmp_path / "family", {}, {})
    base = values(1, (200_003,), 1.0, torch.float32)
    for label, seed in zip(LABELS, (0, 2, 3), strict=False):
        step = (values(seed, (200_003,), 4.0, torch.float32)).round() / 64 if seed else 0.0
        made.add(label, {"w": (base.bfloat16().float() + step).bfloat16()})
    wanted = recipe("ties", density=keep)
    backend = compiled(planned(made, wanted))
    assert files(made, wanted, tmp_path / "a", backend) == files(made, wanted, tmp_path / "b", None)


@pytest.mark.parametrize("method", CODED)
def test_signs_of_zero_survive_alike(tmp_path: Path, method: str) -> None:
    made = Family(tmp_path / "family", {}, {})
    base = values(1, (5003,), 1.0, torch.bfloat16) * (torch.arange(5003) % 3 > 0)  # zeros of both signs
    for label, seed in zip(LABELS, (0, 2, 3), strict=False):
        step = (
            values(seed, (5003,), 0.5, torch.bfloat16) * (torch.arange(5003) % (seed + 2) > 0) if seed else 0
        )
        made.add(label, {"w": base * (1 - 2 * (seed == 2) * (torch.arange(5003) % 2)) + step})
    assert (torch.signbit(base) & (base == 0)).any()
    for options in ({}, {"election": "count"}) if "ties" in method else ({},):
        wanted = recipe(method, dtype="float32", **options)
        backend = compiled(planned(made, wanted))
        out = tmp_path / str(len(options))
        assert files(made, wanted, out / "a", backend) == files(made, wanted, out / "b", None)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", FLOATS)
def test_kernels_refuse_what_is_not_finite(tmp_path: Path, bad: float, dtype: str) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label in LABELS[:3]:
        tensor = values(1, (70_001,), 1.0, getattr(torch, dtype))
        tensor[70_000] = bad if label == LABELS[2] else 1.0
        made.add(label, {"w": tensor})
    wanted = recipe("linear")
    backend = compiled(planned(made, wanted))
    with pytest.raises(Unmergeable, match="'w': parent 2 holds a NaN or an infinity"):
        files(made, wanted, tmp_path / "out", backend)


def test_kernels_refuse_overflow_in_the_words_of_the_plain_coding(tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, size in zip(LABELS, (1.0, 3e38, 3.3e38), strict=False):
        made.add(label, {"w": torch.full((5,), size, dtype=torch.bfloat16)})
    wanted = recipe("linear", weights=[1.0, 1.0], normalise=False)
    for backend in (compiled(planned(made, wanted)), None):
        with pytest.raises(Unmergeable, match=r"'w': a merged weight is beyond torch.bfloat16"):
            files(made, wanted, tmp_path / str(backend), backend)


def test_a_tensor_of_mixed_types_is_merged_plainly_beside_coded_ones(tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, dtype in zip(LABELS, (torch.float32, torch.bfloat16, torch.float16), strict=False):
        made.add(label, {"mixed": values(1, (999,), 1.0, dtype), "w": values(2, (99,), 1.0, torch.float32)})
    for method in ("linear", "ties"):
        wanted = recipe(method)
        backend = compiled(planned(made, wanted))
        assert files(made, wanted, tmp_path / method, backend) == files(
            made, wanted, tmp_path / f"{method} plain", None
        )


@pytest.mark.parametrize("method", CODED)
def test_integers_beside_coded_tensors_are_copied(tmp_path: Path, method: str) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, seed in zip(LABELS, (1, 2, 3), strict=False):
        made.add(label, {"w": values(seed, (99,), 1.0, torch.bfloat16), "ids": torch.arange(7)})
    wanted = recipe(method)
    backend = compiled(planned(made, wanted))
    assert files(made, wanted, tmp_path / "a", backend) == files(made, wanted, tmp_path / "b", None)


def test_a_plan_of_mixed_types_alone_needs_no_kernel(tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, dtype in zip(LABELS, (torch.float32, torch.bfloat16, torch.float16), strict=False):
        made.add(label, {"w": values(1, (5,), 1.0, dtype)})
    assert ready.ensure(planned(made, recipe("linear"))) is None


@pytest.mark.parametrize("lines", [[0.5, 0.75, 0.9], None])
def test_kernels_scale_over_depth_alike(tmp_path: Path, lines: list[float] | None) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, seed in zip(LABELS, (1, 2, 3), strict=False):
        names = ("layers.0.w", "layers.1.w", "head")
        made.add(label, {name: values(seed, (3001,), 1.0, torch.bfloat16) for name in names})
    for method in ("task_arithmetic", "ties"):
        wanted = recipe(method, **({} if lines is None else {"lines": lines}))
        backend, out = compiled(planned(made, wanted)), tmp_path / method
        assert files(made, wanted, out / "a", backend) == files(made, wanted, out / "b", None)


@pytest.mark.parametrize("dtype", FLOATS)
def test_kernels_widen_and_round_every_pattern_of_sixteen_bits_alike(tmp_path: Path, dtype: str) -> None:
    """Every finite pattern as an input: means of neighbours round up, down and to even, subnormals too."""
    patterns = np.arange(1 << 16, dtype=np.uint16)
    half = torch.bfloat16 if dtype == "float32" else getattr(torch, dtype)
    every = torch.from_numpy(patterns.view(np.int16)).view(half)
    every = every[torch.isfinite(every) & (every.abs() < 30000)].to(getattr(torch, dtype))
    made = Family(tmp_path / "family", {}, {})
    for label, turn in zip(LABELS, (0, 0, 1), strict=False):
        made.add(label, {"w": every.roll(turn)})
    for output in dict.fromkeys((dtype, "float32")):
        wanted = recipe("linear", weights=[0.3, 0.7], dtype=output)
        backend, out = compiled(planned(made, wanted)), tmp_path / output
        assert files(made, wanted, out / "a", backend) == files(made, wanted, out / "b", None)


LOAD = """
import json, sys, tempfile
from pathlib import Path
from stages.core.records.recipe import from_json
from stages.core.weights import engine, plan, writer
from stages.core.weights.kernels.fast import Fast
told = json.loads(sys.argv[1])
sources = {digest: Path(folder) for digest, folder in told["sources"].items()}
planned = plan.plan(from_json(told["recipe"]), sources)
with tempfile.TemporaryDirectory() as out:
    writer.preallocate(planned, Path(out))
    coded = Fast(planned, Path(told["kernels"]))
    done = engine.execute(planned, sources, told["manifests"], Path(out), backend=coded)
print(json.dumps([done.files, sorted({"torch", "numba"} & set(sys.modules))]))
"""


@pytest.mark.parametrize("method", CODED)
def test_a_merge_by_kernels_imports_neither_numba_nor_torch(
    members: Any, tmp_path: Path, method: str
) -> None:
    made, wanted = members["bfloat16"], recipe(method)
    plan = planned(made, wanted)
    told = {
        "recipe": wanted.to_json(),
        "sources": {label: str(folder) for label, folder in made.sources.items()},
        "manifests": made.manifests,
        "kernels": str(ready.ensure(plan)),
    }
    words = [sys.executable, "-c", LOAD, json.dumps(told)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert json.loads(done.stdout) == [dict(files(made, wanted, tmp_path / "out", None).files), []]


def test_object_files_are_made_once(members: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(members["bfloat16"], recipe("linear"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    steps: list[tuple[int, int]] = []
    place = ready.ensure(plan, lambda done, total: steps.append((done, total)))
    assert place is not None
    made = {path.name: path.read_bytes() for path in place.iterdir()}
    hashing = [one.file for one in ready.needed(plan) if one == ready.HASHING]
    assert sorted(made) == ["combine-bfloat16-bfloat16.o", "finite-bfloat16.o", *hashing]
    assert all(code.startswith(b"\x7fELF") for code in made.values())
    assert ready.ensure(plan, lambda done, total: steps.append((done, total))) == place
    assert steps == [(n, len(made)) for n in range(1, len(made) + 1)]


def test_a_folder_that_others_may_write_to_is_not_used(
    members: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = ready.folder()
    assert place is not None
    place.mkdir(parents=True)
    place.chmod(0o777)
    assert ready.ensure(planned(members["bfloat16"], recipe("linear"))) is None
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", catalogue.ARGUMENTS)
def test_no_multiplication_is_fused_with_an_addition(name: str) -> None:
    code = compiling.assembly(kernel(name, "bfloat16", "bfloat16"))
    assert f"mergelab_{name}" in code
    assert not [word for word in ("fmadd", "fmsub", "fnmadd", "fmla", "fmls") if word in code]


@pytest.mark.parametrize("method", CODED)
def test_kernels_for_any_x86_64_write_the_bytes_of_those_for_this_processor(
    members: Any, generic: Path, tmp_path: Path, method: str
) -> None:
    options = {"rescale": "l1"} if method.startswith("dare") else {}
    made, wanted = members["bfloat16"], recipe(method, **options)
    plan = planned(made, wanted)
    backend = Fast(plan, generic)
    assert files(made, wanted, tmp_path / "a", backend) == files(made, wanted, tmp_path / "b", compiled(plan))


def test_kernels_of_two_folders_are_two_codes(members: Any, generic: Path) -> None:
    plan = planned(members["bfloat16"], recipe("linear"))
    ours = ready.ensure(plan)
    assert ours is not None
    one = kernel("combine", "bfloat16", "bfloat16")
    places = {ctypes.cast(load(folder, one), ctypes.c_void_p).value for folder in (ours, generic)}
    assert len(places) == 2


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 has the widths that are compared")
@pytest.mark.parametrize("name", catalogue.ARGUMENTS)
def test_kernels_for_any_x86_64_use_no_vector_that_only_some_have(name: str) -> None:
    """Else the comparison would be of one machine code with itself."""
    one = kernel(name, "bfloat16", "bfloat16")
    assert not re.search(r"%[yz]mm", compiling.assembly(one, cpu="x86-64"))
    assert compiling.compile_kernel(one, cpu="x86-64") != compiling.compile_kernel(one)


def test_work_areas_are_as_large_as_the_kernels_take_them_to_be() -> None:
    """fast.py states these sizes again, since the modules of the kernels import numba."""
    assert (fast.CHUNK, fast.GROUP) == (elements.CHUNK, measuring.GROUP)
