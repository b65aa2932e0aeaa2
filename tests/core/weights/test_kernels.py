"""The second coding: every method, option, type and size merges to the bytes of the first one."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import Unmergeable
from stages.core.weights import engine, registry, writer
from stages.core.weights.kernels import compiled, fast
from tests.core.weights.family import LABELS, Family, family, planned, recipe, values
from tests.core.weights.test_conformance import CASES

FLOATS = ("bfloat16", "float32")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """Seventeen checkpoints in each parent type."""
    return {d: family(tmp_path_factory.mktemp(d), getattr(torch, d), parents=16) for d in FLOATS}


@pytest.fixture(scope="session")
def machine_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder for compiled kernels."""
    return tmp_path_factory.mktemp("kernels")


def files(made: Family, wanted: Any, output: Path, backend: Any, **options: int) -> Any:
    plan = planned(made, wanted)
    writer.preallocate(plan, output)
    return engine.execute(plan, made.sources, made.manifests, output, backend=backend, **options)


@pytest.mark.parametrize("types", [(a, b) for a in FLOATS for b in FLOATS])
@pytest.mark.parametrize("case", CASES)
def test_kernels_write_the_bytes_of_the_plain_coding(
    members: Any, machine_code: Path, tmp_path: Path, case: Any, types: tuple[str, str]
) -> None:
    (method, count, options), (parents, output) = case, types
    made, wanted = members[parents], recipe(method, parents=count, dtype=output, **options)
    backend = fast.load(planned(made, wanted), machine_code, compiling=True)
    assert backend is not None
    plain = files(made, wanted, tmp_path / "plain", None)
    for threads, block in ((1, 1 << 16), (2, 1 << 18)):
        quick = files(made, wanted, tmp_path / str(threads), backend, threads=threads, block_elements=block)
        assert quick == plain


def test_every_method_and_version_is_known_to_the_registry() -> None:
    assert {(m, registry.get(m).version) for m, _ in fast.CODED} == set(fast.CODED)


@pytest.mark.parametrize("size", [1, 2, 3, 99, 2047, 2048, 2049, 2**16 - 1, 2**16, 2**16 + 1, 2**17 + 7])
@pytest.mark.parametrize("method", [name for name, _ in fast.CODED])
def test_kernels_merge_every_size_alike(machine_code: Path, tmp_path: Path, method: str, size: int) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, seed in zip(LABELS, (1, 2, 3), strict=False):
        made.add(label, {"w": values(seed, (size,), 1.0, torch.bfloat16).abs()})
    wanted = recipe(method, **({"rescale": "l1"} if method.startswith("dare") else {}))
    backend = fast.load(planned(made, wanted), machine_code, compiling=True)
    assert files(made, wanted, tmp_path / "a", backend) == files(made, wanted, tmp_path / "b", None)


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 1.0])
def test_kernels_select_alike_among_many_equal_magnitudes(
    machine_code: Path, tmp_path: Path, keep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.core.weights.selection.COLLECTED", 1000)  # count instead of collecting
    made = Family(tmp_path / "family", {}, {})
    base = values(1, (200_003,), 1.0, torch.float32)
    for label, seed in zip(LABELS, (0, 2, 3), strict=False):
        step = (values(seed, (200_003,), 4.0, torch.float32)).round() / 64 if seed else 0.0
        made.add(label, {"w": (base.bfloat16().float() + step).bfloat16()})
    wanted = recipe("ties", density=keep)
    backend = fast.load(planned(made, wanted), machine_code, compiling=True)
    assert files(made, wanted, tmp_path / "a", backend) == files(made, wanted, tmp_path / "b", None)


@pytest.mark.parametrize("method", [name for name, _ in fast.CODED])
def test_signs_of_zero_survive_alike(machine_code: Path, tmp_path: Path, method: str) -> None:
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
        backend = fast.load(planned(made, wanted), machine_code, compiling=True)
        out = tmp_path / str(len(options))
        assert files(made, wanted, out / "a", backend) == files(made, wanted, out / "b", None)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", FLOATS)
def test_kernels_refuse_what_is_not_finite(
    machine_code: Path, tmp_path: Path, bad: float, dtype: str
) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label in LABELS[:3]:
        tensor = values(1, (70_001,), 1.0, getattr(torch, dtype))
        tensor[70_000] = bad if label == LABELS[2] else 1.0
        made.add(label, {"w": tensor})
    wanted = recipe("linear")
    backend = fast.load(planned(made, wanted), machine_code, compiling=True)
    with pytest.raises(Unmergeable, match="'w': parent 2 holds a NaN or an infinity"):
        files(made, wanted, tmp_path / "out", backend)


def test_kernels_refuse_overflow_in_the_words_of_the_plain_coding(machine_code: Path, tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, size in zip(LABELS, (1.0, 3e38, 3.3e38), strict=False):
        made.add(label, {"w": torch.full((5,), size, dtype=torch.bfloat16)})
    wanted = recipe("linear", weights=[1.0, 1.0], normalise=False)
    for backend in (fast.load(planned(made, wanted), machine_code, compiling=True), None):
        with pytest.raises(Unmergeable, match=r"'w': a merged weight is beyond torch.bfloat16"):
            files(made, wanted, tmp_path / str(backend), backend)


def test_float16_and_mixed_types_are_left_to_the_plain_coding(tmp_path: Path) -> None:
    made = Family(tmp_path / "family", {}, {})
    for label, dtype in zip(LABELS, (torch.float32, torch.bfloat16, torch.float16), strict=False):
        made.add(label, {"w": values(1, (5,), 1.0, dtype)})
    assert fast.load(planned(made, recipe("linear")), tmp_path, compiling=True) is None


FRESH = """
import sys
from pathlib import Path
from stages.core.weights.kernels import fast
from tests.core.weights.family import LABELS, Family, planned, recipe
made = Family(Path(sys.argv[1]), {}, {})
for place, label in enumerate(LABELS[:3]):
    made.adopt(label, made.root / f"member-{place}")
backend = fast.load(planned(made, recipe("ties")), Path(sys.argv[2]), compiling=sys.argv[3] == "compile")
print(None if backend is None else backend.name)
"""


def test_code_compiled_in_one_process_is_only_loaded_in_another(members: Any, tmp_path: Path) -> None:
    def said(leave: str) -> str:
        words = [sys.executable, "-c", FRESH, str(members["bfloat16"].root), str(tmp_path), leave]
        done = subprocess.run(
            words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
        )
        return done.stdout.strip()

    assert said("only load") == "None"
    assert list(tmp_path.iterdir()) == []
    assert said("compile") == "numba"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert said("only load") == "numba"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_no_multiplication_is_fused_with_an_addition(members: Any, machine_code: Path) -> None:
    for method in ("slerp", "ties", "dare_ties"):
        options = {"rescale": "l1"} if method == "dare_ties" else {}
        plan = planned(members["bfloat16"], recipe(method, **options))
        assert fast.load(plan, None, compiling=True) is not None
    code = [text for made in compiled.KERNELS for text in made.inspect_asm().values()]
    assert len(code) >= 5
    assert any("mulps" in text for text in code) or torch.backends.cpu.get_cpu_capability() == "DEFAULT"
    assert not [text for text in code if "fmadd" in text or "fmsub" in text or "fnmadd" in text]
