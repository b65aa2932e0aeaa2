"""Plans: what they refuse, what they promise, and what enters their digest."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages.core.errors import BadRequest, Unmergeable
from stages.core.weights import engine, fitting, plan, writer
from tests.core.weights.family import LABELS, Family, family, planned, recipe, state


@pytest.fixture
def made(tmp_path: Path) -> Family:
    """A base and two fine-tunes in bfloat16."""
    return family(tmp_path / "family", torch.bfloat16)


def test_plans_and_registry_import_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, stages.core.weights.plan, stages.core.weights.writer, stages.core.weights.registry\n"
        "print(sorted({'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_misfit_is_listed_at_once(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    made.add(LABELS[0], {"a": torch.ones(2), "b": torch.ones(2), "i": torch.arange(2), "d": torch.ones(1)})
    made.add(LABELS[1], {"a": torch.ones(3), "c": torch.ones(2), "i": torch.arange(2), "d": torch.ones(1)})
    made.add(
        LABELS[2], {"a": torch.ones(2), "b": torch.ones(2), "i": torch.ones(2), "d": torch.ones(1).double()}
    )
    with pytest.raises(Unmergeable) as caught:
        planned(made, recipe("ties"))
    assert str(caught.value).splitlines() == [
        "5 tensors do not fit together:",
        "  b: in base, missing in parent 1",
        "  c: in parent 1, missing in base",
        "  a: shapes differ (base [2], parent 1 [3], parent 2 [2])",
        "  i: types differ (float32, int64)",
        "  d: float32, float64 cannot be merged. Convert to one of float32, bfloat16, float16",
        "Choose parents of one base family, with one vocabulary and one way of tying weights.",
    ]


def test_the_base_is_not_read_in_weight_space(made: Family) -> None:
    del made.sources[LABELS[0]]
    assert [given.role for given in planned(made, recipe("linear")).inputs] == ["parent 1", "parent 2"]


def test_every_problem_of_a_recipe_is_told_at_once(made: Family) -> None:
    wrong = dataclasses.replace(recipe("ties"), base=None, method_version=9, numerics=0, output_dtype="int8")
    with pytest.raises(BadRequest) as caught:
        plan.plan(wrong, made.sources)
    starts = [problem.split(": ")[1] for problem in caught.value.problems]
    assert starts == ["method_version", "numerics", "output_dtype", "base"]


def test_a_recipe_must_state_every_parameter(made: Family) -> None:
    partial = dataclasses.replace(recipe("ties"), parameters={"density": 0.2})
    with pytest.raises(BadRequest, match=r"parameters: the recipe must state every parameter, resolved"):
        plan.plan(partial, made.sources)


def test_sizes_are_exact_before_anything_is_read(made: Family, tmp_path: Path) -> None:
    wanted = planned(made, recipe("ties", dtype="float32"))
    writer.preallocate(wanted, tmp_path / "out")
    engine.execute(wanted, made.sources, made.manifests, tmp_path / "out")
    assert wanted.files == {p.name: p.stat().st_size for p in (tmp_path / "out").iterdir()}
    assert wanted.bytes_written == sum(wanted.files.values())
    assert wanted.bytes_read == sum((d / "model.safetensors").stat().st_size for d in made.sources.values())


def test_a_description_is_json_and_shows_coefficients_as_hex(made: Family) -> None:
    shown = planned(made, recipe("linear", weights=[1.0, 3.0])).describe()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["tensors"]["norm.weight"]["coefficients"] == {"shares": [(0.25).hex(), (0.75).hex()]}


def test_a_plan_has_the_digest_of_its_output_not_of_its_inputs_layout(made: Family, tmp_path: Path) -> None:
    moved = family(tmp_path / "moved", torch.float32)
    first = planned(made, recipe("linear"))
    assert planned(moved, recipe("linear")).digest == first.digest
    assert planned(made, recipe("linear", weights=[1.0, 2.0])).digest != first.digest
    assert planned(made, recipe("linear"), shard_bytes=100_000).digest != first.digest


def test_a_tied_tensor_that_all_lack_is_lacking_in_the_output(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    for member, label in enumerate(LABELS[:3]):
        tensors = state(member, torch.bfloat16)
        del tensors["layer.1.weight"]
        made.add(label, tensors)
    assert "layer.1.weight" not in {job.name for job in planned(made, recipe("ties")).jobs}


def test_wide_tensors_come_first_and_names_are_sorted(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    for label in LABELS[1:3]:
        made.add(
            label, {"b": torch.ones(1), "z": torch.arange(1), "a": torch.ones(1), "on": torch.tensor([True])}
        )
    assert [job.name for job in planned(made, recipe("linear")).jobs] == ["z", "a", "b", "on"]


def test_rows_too_long_to_be_ranked_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    made = Family(tmp_path, {}, {})
    for label in LABELS[:3]:
        made.add(label, {"long": torch.zeros(1, fitting.ROW_ELEMENTS + 1), "tall": torch.zeros(3, 2)})
    with pytest.raises(Unmergeable, match=r"ranks whole rows:\n  long: rows of 1048577 elements"):
        planned(made, recipe("della"))
    assert planned(made, recipe("sce")).jobs
