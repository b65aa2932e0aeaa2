"""One digest per merge, whatever the instruction set, threads, blocks or shards: the promise of the contract.

Every leg runs in its own process, and reports the instruction set that torch and numpy really used: a switch
that is ignored would make the comparison vacuous.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.weights import engine, header, reader, writer
from stages.core.weights.numerics import float32
from tests.core.weights.family import LABELS, Family, family, planned, recipe, save, state
from tests.core.weights.identity_worker import METHODS, RUNS, SPECTRAL, digests

GOLDEN = Path(__file__).with_name("golden.json")
NUMPY_SWITCHES = "X86_V3 X86_V4 AVX512_ICL"
LEGS = {
    "plain": {"ATEN_CPU_CAPABILITY": "default", "NPY_DISABLE_CPU_FEATURES": NUMPY_SWITCHES},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "widest": {},
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each leg printed."""
    root = tmp_path_factory.mktemp("identity")
    for dtype in ("float32", "bfloat16", "float16"):
        family(root / dtype, getattr(torch, dtype))
    return {leg: _run(root, switches) for leg, switches in LEGS.items()}


def _run(root: Path, switches: dict[str, str]) -> Any:
    dropped = ("ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES")
    inherited = {name: value for name, value in os.environ.items() if name not in dropped}
    known = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not known and "NPY_DISABLE_CPU_FEATURES" in switches:
        switches = {**switches, "NPY_DISABLE_CPU_FEATURES": "X86_V3"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.weights.identity_worker", str(root)],
        env={**inherited, "OMP_NUM_THREADS": "1", **switches},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_each_switch_took_effect(reports: Any) -> None:
    native = torch.backends.cpu.get_cpu_capability()
    assert reports["plain"]["torch"] == "DEFAULT"
    assert reports["plain"]["numpy"] == []
    assert reports["widest"]["torch"] == native
    if native in ("AVX2", "AVX512"):
        assert reports["avx2"]["torch"] == "AVX2"
        assert reports["widest"]["numpy"] != []


@pytest.mark.parametrize("leg", ["plain", "avx2"])
def test_digests_do_not_depend_on_the_instruction_set(reports: Any, leg: str) -> None:
    assert reports[leg]["digests"] == reports["widest"]["digests"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_digests_do_not_depend_on_threads_or_blocks(reports: Any, method: str, dtype: str) -> None:
    found = reports["widest"]["digests"]
    runs = {found[f"bfloat16 {method} {dtype} {threads} {block}"] for threads, block in RUNS}
    assert len(runs) == 1


def test_digests_are_those_that_this_numerics_version_has_always_given(reports: Any) -> None:
    """golden.json: this very report, kept when version 1 was made (AMD EPYC, torch 2.13.0, numpy 2.4).

    The spectral methods are not in it: their last bits belong to the linear algebra library and its choice of
    instructions (numerics.py, number 9): pinned, they would fail on a machine that does nothing wrong.
    """
    threads, block = RUNS[0]
    found = {k: v for k, v in reports["widest"]["digests"].items() if k.endswith(f" {threads} {block}")}
    assert found == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("method", SPECTRAL)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_spectral_digests_do_not_depend_on_threads_or_blocks(tmp_path: Path, method: str, dtype: str) -> None:
    made = family(tmp_path, torch.bfloat16)
    chosen = {method: SPECTRAL[method]}
    found = digests(made, dtype, RUNS, chosen)
    assert len(found) == len(RUNS)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)  # the caller's own, which the engine does not set with one thread
        found["three of torch's"] = digests(made, dtype, RUNS[:1], chosen).popitem()[1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert len(set(found.values())) == 1


def test_the_fixture_tells_a_fused_multiply_add_from_separate_rounding() -> None:
    a, b = state(1, torch.float32)["embed.weight"], state(2, torch.float32)["embed.weight"]
    share = float32(0.3 / 1.4), float32(1.1 / 1.4)
    separate = a * share[0] + b * share[1]
    fused = ((a * share[0]).double() + b.double() * share[1]).float()
    assert 0.05 < (separate != fused).float().mean() < 0.95


def test_the_fixture_tells_one_order_of_summation_from_another() -> None:
    values = state(1, torch.float32)["embed.weight"].double().flatten()
    squares = values * values
    forwards, backwards = squares.cumsum(0)[-1], squares.flip(0).cumsum(0)[-1]
    assert forwards != backwards


@pytest.mark.parametrize("method", [*METHODS, *SPECTRAL])
def test_the_shards_of_the_inputs_leave_no_trace(tmp_path: Path, method: str) -> None:
    whole = family(tmp_path / "whole", torch.bfloat16)
    cut = Family(tmp_path / "cut", {}, {})
    for member, label in enumerate(LABELS[:3]):
        directory = tmp_path / "cut" / str(member)
        directory.mkdir(parents=True)
        _save_sharded(state(member, torch.bfloat16), directory, shards=member + 1)
        cut.adopt(label, directory)
    wanted = recipe(method, **(METHODS | SPECTRAL)[method])
    assert _digest(cut, wanted, tmp_path / "a") == _digest(whole, wanted, tmp_path / "b")


def _save_sharded(tensors: dict[str, torch.Tensor], directory: Path, shards: int) -> None:
    """Deal the tensors, in reverse order, over several files with an index."""
    names = sorted(tensors, reverse=True)
    placed = {name: f"part-{place % shards}.safetensors" for place, name in enumerate(names)}
    for shard in sorted(set(placed.values())):
        save(tensors, directory / shard, [name for name in names if placed[name] == shard])
    (directory / reader.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def _digest(made: Family, wanted: Any, output: Path) -> Any:
    plan = planned(made, wanted)
    writer.preallocate(plan, output)
    return engine.execute(plan, made.sources, made.manifests, output).files


@pytest.mark.parametrize("method", [*METHODS, *SPECTRAL])
def test_memory_holds_the_same_bytes_as_the_file(tmp_path: Path, method: str) -> None:
    made = family(tmp_path / "family", torch.bfloat16)
    plan = planned(made, recipe(method, **(METHODS | SPECTRAL)[method]))
    writer.preallocate(plan, tmp_path / "out")
    engine.execute(plan, made.sources, made.manifests, tmp_path / "out")
    written = reader.Checkpoint(tmp_path / "out")
    live = {job.name: torch.full(job.shape, 7.0, dtype=torch.bfloat16) for job in plan.jobs}
    engine.merge_into(plan, made.sources, live)
    streamed = dict(engine.stream(plan, made.sources, made.manifests, threads=2))
    assert list(streamed) == list(written.tensors)
    for name in written.tensors:
        assert torch.equal(written.read(name), live[name])
        assert torch.equal(written.read(name), streamed[name])


def test_a_sharded_output_holds_the_tensors_of_a_single_file(tmp_path: Path) -> None:
    made = family(tmp_path / "family", torch.bfloat16)
    wanted = recipe("ties")
    for name, limit in (("one", 1 << 40), ("many", 200_000)):
        plan = planned(made, wanted, shard_bytes=limit)
        writer.preallocate(plan, tmp_path / name)
        engine.execute(plan, made.sources, made.manifests, tmp_path / name)
    assert len(reader.Checkpoint(tmp_path / "many").files) == 4  # three shards and the index
    assert reader.compare(tmp_path / "one", tmp_path / "many") == []


def test_headers_carry_one_metadata_key_and_align_the_tensors(tmp_path: Path) -> None:
    made = family(tmp_path / "family", torch.bfloat16)
    plan = planned(made, recipe("linear"))
    text = plan.texts["model.safetensors"]
    assert json.loads(text[8:])["__metadata__"] == header.METADATA == {"format": "pt"}
    assert len(text) % 8 == 0
