"""One digest per merge, whatever the instruction set, threads, blocks or shards: the promise of the contract.

Every leg runs in its own process, and reports the instruction set that torch and numpy really used: a switch
that is ignored would make the comparison vacuous. Compiled kernels have no such switch: they are held against
the same digests while the plain coding is made to fail; test_kernels.py compiles them for a lesser processor.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.weights import engine, header, plain, reader, registry, writer
from stages.core.weights.numerics import float32
from tests.core.weights.family import LABELS, Family, family, planned, recipe, state
from tests.core.weights.identity_worker import METHODS, RUNS, SPECTRAL, digests
from tests.core.weights.merging import compiled, save_sharded

FLOATS = ("float32", "bfloat16", "float16")
CODED = [method.name for method in registry.METHODS if method.kernel is not None]
GOLDEN = Path(__file__).with_name("golden.json")
NUMPY_SWITCHES = "X86_V3 X86_V4 AVX512_ICL"
LEGS = {
    "plain": {"ATEN_CPU_CAPABILITY": "default", "NPY_DISABLE_CPU_FEATURES": NUMPY_SWITCHES},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "widest": {},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the checkpoints lie, a folder for each type."""
    return tmp_path_factory.mktemp("identity")


@pytest.fixture(scope="module")
def checkpoints(root: Path) -> dict[str, Family]:
    """A base and two fine-tunes in each type."""
    return {dtype: family(root / dtype, getattr(torch, dtype)) for dtype in FLOATS}


@pytest.fixture
def only_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the plain coding cannot be used."""

    def refuse() -> None:
        raise AssertionError("merged plainly")

    monkeypatch.setattr(plain, "Plain", refuse)


@pytest.fixture(scope="module")
def reports(root: Path, checkpoints: dict[str, Family]) -> dict[str, Any]:
    """What each leg printed."""
    return {leg: _run(root, switches) for leg, switches in LEGS.items()}


def _run(root: Path, switches: dict[str, str]) -> Any:
    dropped = ("ATEN_CPU_CAPABILITY", "NPY_DISABLE_CPU_FEATURES")
    inherited = {name: value for name, value in os.environ.items() if name not in dropped}
    known = torch.backends.cpu.get_cpu_capability() == "AVX512"
    if not known and "NPY_DISABLE_CPU_FEATURES" in switches:
        switches = {**switches, "NPY_DISABLE_CPU_FEATURES": "X86_V3"}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.core.weights.identity_worker",
            str(root),
            *([] if switches else ["every"]),
        ],
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
    """Threads and blocks vary in these legs for one type of output, in the widest for all three."""
    found, widest = reports[leg]["digests"], reports["widest"]["digests"]
    assert len(found) == len(METHODS) * (9 + len(RUNS) - 1)
    assert found == {key: widest[key] for key in found}


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


@pytest.mark.parametrize("method", CODED)
def test_compiled_kernels_give_the_golden_digests(
    checkpoints: dict[str, Family], only_kernels: None, method: str
) -> None:
    """In every type, on every number of threads and size of blocks; torch and numpy do none of it."""
    golden = json.loads(GOLDEN.read_text())
    threads, block = RUNS[0]
    for read, made in checkpoints.items():
        for written in FLOATS:
            found = digests(made, written, RUNS, {method: METHODS[method]}, compiled)
            assert len(found) == len(RUNS)
            assert set(found.values()) == {golden[f"{read} {method} {written} {threads} {block}"]}


@pytest.mark.parametrize("method", CODED)
def test_what_is_not_compiled_would_have_been_noticed(
    checkpoints: dict[str, Family], only_kernels: None, method: str
) -> None:
    """Without the backend that the tests beside this one pass, the very same merge ends here."""
    chosen = {method: METHODS[method]}
    made = checkpoints["bfloat16"]
    assert compiled(planned(made, recipe(method, **METHODS[method]))).name == "compiled"
    with pytest.raises(AssertionError, match="merged plainly"):
        digests(made, "bfloat16", RUNS[:1], chosen)


def test_every_method_is_in_the_matrix() -> None:
    assert sorted([*METHODS, *SPECTRAL]) == sorted(registry.BY_NAME)


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


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """The checkpoints in bfloat16, tensors in reverse order, over one, two and three files."""
    made = Family(tmp_path_factory.mktemp("cut"), {}, {})
    for member, label in enumerate(LABELS[:3]):
        tensors = state(member, torch.bfloat16)
        save_sharded(tensors, made.root / label, sorted(tensors, reverse=True), shards=member + 1)
        made.adopt(label, made.root / label)
    return made


@pytest.mark.parametrize("method", [*METHODS, *SPECTRAL])
def test_the_shards_of_the_inputs_leave_no_trace(
    checkpoints: dict[str, Family], cut: Family, tmp_path: Path, method: str
) -> None:
    wanted, whole = recipe(method, **(METHODS | SPECTRAL)[method]), checkpoints["bfloat16"]
    assert _digest(cut, wanted, tmp_path / "a") == _digest(whole, wanted, tmp_path / "b")


@pytest.mark.parametrize("method", CODED)
def test_the_shards_of_the_inputs_leave_no_trace_on_compiled_kernels(
    cut: Family, only_kernels: None, method: str
) -> None:
    found = digests(cut, "bfloat16", RUNS[1:3], {method: METHODS[method]}, compiled)
    golden = json.loads(GOLDEN.read_text())[f"bfloat16 {method} bfloat16 {RUNS[0][0]} {RUNS[0][1]}"]
    assert list(found.values()) == [golden] * 2


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
