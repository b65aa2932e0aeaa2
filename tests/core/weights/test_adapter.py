"""An adapter merged into its base is W + scaling · B·A rounded once, as PEFT has it; the rest is refused."""

import json
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.core.errors import BadCheckpoint
from stages.core.records.files import sha256_file
from stages.core.weights import header, materialise
from stages.core.weights.reader import INDEX, Checkpoint, compare
from tests.reference import low_rank, rounding

REFERENCE = Path(__file__).parents[2] / "reference" / "adapters"
CASES = ("plain", "patterns", "bfloat16", "conv1d")
NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
PREFIX = "base_model.model."
Q = "model.layers.0.self_attn.q_proj"

# what the cases ask for, read off peft_merges.py: pattern → (rank, alpha)
ASKED = {
    "plain": {"": (3, 5)},
    "patterns": {"layers.1.self_attn.q_proj": (5, 4), "up_proj": (2, 7), "": (2, 4)},
    "bfloat16": {"": (3, 6)},
    "conv1d": {"": (2, 3)},
}


def merge(case: Path, output: Path) -> Path:
    """The folder with the merged weights."""
    output.mkdir()
    materialise.materialise(case / "base", case / "adapter", output)
    return output


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A copy of the plain case to spoil."""
    return Path(shutil.copytree(REFERENCE / "plain", tmp_path / "plain"))


def configure(case: Path, **changes: Any) -> Path:
    path = case / "adapter/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return case


def rewrite(path: Path, change: Mapping[str, tuple[str, list[int], bytes] | None]) -> None:
    """Replace, add or (None) remove tensors of a file: name → (dtype, shape, bytes)."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    held = json.loads(data[8:start])
    held.pop("__metadata__", None)
    kept = {
        name: (about["dtype"], about["shape"], data[start:][slice(*about["data_offsets"])])
        for name, about in held.items()
    } | dict(change)
    listed = [(name, NAMES.get(one[0], "float64"), one[1]) for name, one in kept.items() if one]
    head, _ = header.write(listed)
    path.write_bytes(head + b"".join(one[2] for one in kept.values() if one))


def exact(case: str, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """The exact sums of a changed matrix and the sums of sizes, as float64; None if it is copied."""
    folder = REFERENCE / case
    config = json.loads((folder / "adapter/adapter_config.json").read_text())
    delta = low_rank.tensors(folder / "adapter/adapter_model.safetensors")
    _, shape, numbers = low_rank.tensors(folder / "base/model.safetensors")[name]
    module = name.removesuffix(".weight")
    for kind, weight in (("", ".weight"), ("embedding_", "")):
        if (key := f"{PREFIX}{module}.lora_{kind}A{weight}") in delta:
            a, b = delta[key], delta[f"{PREFIX}{module}.lora_{kind}B{weight}"]
            rank, alpha = next(how for end, how in ASKED[case].items() if module.endswith(end))
            found, size = low_rank.merged(
                low_rank.matrix(shape, numbers), low_rank.matrix(*a[1:]), low_rank.matrix(*b[1:]),
                low_rank.scaling_of(config, rank, alpha), transposed=bool(kind) or case == "conv1d",
            )  # fmt: skip
            return np.array(found, np.float64).ravel(), np.array(size, np.float64).ravel()
    return None


@pytest.mark.parametrize("case", CASES)
def test_every_changed_element_is_the_exact_sum_rounded_once(case: str, tmp_path: Path) -> None:
    found = low_rank.tensors(merge(REFERENCE / case, tmp_path / "out") / "model.safetensors")
    changed = 0
    for name, (dtype, _, numbers) in found.items():
        if (sums := exact(case, name)) is not None:
            np.testing.assert_array_equal(np.array(numbers), rounding.nearest(sums[0], NAMES[dtype]), name)
            changed += 1
    assert changed >= 2


@pytest.mark.parametrize("case", CASES)
def test_peft_agrees_within_an_ulp_of_the_sum_of_sizes(case: str, tmp_path: Path) -> None:
    ours = low_rank.tensors(merge(REFERENCE / case, tmp_path / "out") / "model.safetensors")
    theirs = low_rank.tensors(REFERENCE / case / "merged.safetensors")
    assert ours.keys() == theirs.keys()
    for name, (dtype, shape, numbers) in ours.items():
        assert theirs[name][:2] == (dtype, shape)
        sums = exact(case, name)
        apart = np.abs(np.array(numbers) - np.array(theirs[name][2]))
        assert np.all(apart <= (0 if sums is None else rounding.ulp(sums[1], NAMES[dtype]))), name


def test_what_the_adapter_does_not_name_keeps_its_bytes_and_the_file_its_header(tmp_path: Path) -> None:
    out = merge(REFERENCE / "plain", tmp_path / "out")
    differing = {line.split(":")[0] for line in compare(REFERENCE / "plain/base", out)}
    assert differing == {
        f"model.layers.{layer}.{module}.weight"
        for layer in (0, 1)
        for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
    }
    files = [folder / "model.safetensors" for folder in (REFERENCE / "plain/base", out)]
    length = 8 + int.from_bytes(files[0].read_bytes()[:8], "little")
    assert files[0].read_bytes()[:length] == files[1].read_bytes()[:length]


@pytest.mark.parametrize("case", CASES)
def test_block_and_piece_sizes_take_no_part_in_the_bytes(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sha256_file(merge(REFERENCE / case, tmp_path / "first") / "model.safetensors")
    monkeypatch.setattr(materialise, "BLOCK", 17)
    monkeypatch.setattr(materialise, "COPY_BYTES", 13)
    assert sha256_file(merge(REFERENCE / case, tmp_path / "second") / "model.safetensors") == first


def test_the_bytes_are_pinned(tmp_path: Path) -> None:
    # sha256 of this code's first output, which the tests above hold against exact sums
    out = merge(REFERENCE / "patterns", tmp_path / "out") / "model.safetensors"
    assert sha256_file(out) == "77ff035185ea1651718100a09d3ee57ab563de122b30e2c19f978c9b88b3f50f"


def test_the_record_is_of_the_bytes_that_were_written(tmp_path: Path) -> None:
    told: list[int] = []
    records = materialise.materialise(
        REFERENCE / "plain/base", REFERENCE / "plain/adapter", tmp_path, told.append
    )
    path = tmp_path / "model.safetensors"
    assert records["model.safetensors"].sha256 == sha256_file(path)
    assert records["model.safetensors"].bytes == path.stat().st_size == sum(told)


def test_a_base_in_shards_stays_in_shards_with_the_same_tensors(plain: Path, tmp_path: Path) -> None:
    whole = merge(plain, tmp_path / "whole")
    single = plain / "base/model.safetensors"
    names = list(Checkpoint(plain / "base").tensors)
    placed = {name: f"model-0000{1 + n % 2}-of-00002.safetensors" for n, name in enumerate(names)}
    for shard in sorted(set(placed.values())):
        shutil.copyfile(single, plain / "base" / shard)
        rewrite(plain / "base" / shard, {name: None for name in names if placed[name] != shard})
    (plain / "base" / INDEX).write_text(json.dumps({"weight_map": placed}))
    single.unlink()
    sharded = merge(plain, tmp_path / "sharded")
    assert compare(whole, sharded) == []
    assert set(Checkpoint(sharded).files) == {INDEX, *placed.values()}


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0 + 2**-8, 0x3F80),  # half way between two: to the even one
        (1.0 + 3 * 2**-8, 0x3F82),
        (1.0 + 2**-8 + 2**-40, 0x3F81),  # float32 would drop the last term and make a tie of it
        (1.0 + 3 * 2**-8 - 2**-40, 0x3F81),
        (-(1.0 + 2**-8 + 2**-40), 0xBF81),
        (2.0**-133, 0x0001),  # the smallest
        (2.0**-134, 0x0000),
        (2.0**-134 + 2.0**-180, 0x0001),
        (-0.0, 0x8000),
        (3.3895313892515355e38, 0x7F7F),  # the greatest
    ],
)
def test_float64_goes_to_bfloat16_in_one_rounding(value: float, bits: int) -> None:
    assert materialise.narrow(np.array([value]), "bfloat16")[0] == bits


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [1e39, -1e39, float("inf"), float("nan")])
def test_what_no_number_of_the_type_can_hold_is_refused(value: float, dtype: str) -> None:
    with pytest.raises(BadCheckpoint, match=f"beyond {dtype}") as caught:
        materialise.narrow(np.array([1.0, value]), dtype)
    assert caught.value.code == "adapter-not-finite"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "expected 'LORA'"),
        ({"use_dora": True}, "use_dora: True is not done here"),
        ({"lora_bias": True}, "lora_bias: True is not done here"),
        ({"bias": "all"}, "bias: expected 'none'"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"target_parameters": ["experts.up"]}, "target_parameters"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"ensure_weight_tying": True}, "ensure_weight_tying"),
        ({"init_lora_weights": "pissa"}, "'pissa' changes the base"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' changes the base"),
        ({"init_lora_weights": "olora"}, "'olora' changes the base"),
        ({"init_lora_weights": "corda"}, "'corda' changes the base"),
        ({"init_lora_weights": "loftq"}, "'loftq' changes the base"),
        ({"init_lora_weights": "lora_ga"}, "'lora_ga' changes the base"),
        ({"new_in_peft_9": None}, "new_in_peft_9: not known here"),
        ({"r": 0}, "r: expected a whole number"),
        ({"r": 1.5}, "r: expected a whole number"),
        ({"r": True}, "r: expected a whole number"),
        ({"lora_alpha": "8"}, "lora_alpha: expected a number"),
        ({"lora_alpha": 1e30}, "lora_alpha: expected a number"),
        ({"use_rslora": 1}, "use_rslora: expected true or false"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out: True for a base of type 'llama'"),
        ({"rank_pattern": {".*(a+)+$": 2}}, "is more than a module's name"),
        ({"rank_pattern": [1]}, "rank_pattern: expected a map"),
        ({"alpha_pattern": {"q_proj": -1}}, r"alpha_pattern\.q_proj: expected a number"),
        ({"modules_to_save": "lm_head"}, "modules_to_save: expected a list"),
    ],
)
def test_a_configuration_that_means_something_else_is_refused(
    plain: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadCheckpoint, match=message) as caught:
        merge(configure(plain, **changes), tmp_path / "out")
    assert caught.value.code == "adapter-config"
    assert list((tmp_path / "out").iterdir()) == []


def floats(*shape: int, value: float = 1.0) -> tuple[str, list[int], bytes]:
    count = int(np.prod(shape))
    return "F32", list(shape), struct.pack("<f", value) * count


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({f"{PREFIX}{Q}.lora_B.weight": None}, "adapter-tensor", "without"),
        ({f"{PREFIX}{Q}.lora_A.weight": None}, "adapter-tensor", "without"),
        ({f"{PREFIX}{Q}.lora_A.weight": None, f"{PREFIX}{Q}.lora_B.weight": None}, "adapter-incomplete", Q),
        ({f"{PREFIX}lm_head.weight": floats(12, 8)}, "adapter-tensor", "in no modules_to_save"),
        ({f"{PREFIX}{Q}.lora_magnitude_vector": floats(8)}, "adapter-tensor", "in no modules_to_save"),
        ({f"{PREFIX}{Q}.lora_B.bias": floats(8)}, "adapter-tensor", "in no modules_to_save"),
        ({"extra": floats(1)}, "adapter-tensor", "does not begin with"),
        (
            {f"{PREFIX}model.layers.7.x.lora_A.weight": floats(3, 8),
             f"{PREFIX}model.layers.7.x.lora_B.weight": floats(8, 3)},
            "adapter-target", r"model\.layers\.7\.x\.weight",
        ),
        ({f"{PREFIX}{Q}.lora_A.weight": floats(2, 8)}, "adapter-shape", "its configuration says rank 3"),
        ({f"{PREFIX}{Q}.lora_A.weight": floats(3, 9)}, "adapter-shape", r"is \[8, 8\] in its base"),
        ({f"{PREFIX}{Q}.lora_B.weight": floats(8, 2)}, "adapter-shape", r"is \[8, 8\] in its base"),
        ({f"{PREFIX}{Q}.lora_A.weight": floats(24)}, "adapter-shape", "rank 3"),
        ({f"{PREFIX}{Q}.lora_A.weight": ("F64", [3, 8], bytes(192))}, "adapter-dtype", "float64"),
        ({f"{PREFIX}{Q}.lora_A.weight": floats(3, 8, value=float("nan"))}, "adapter-not-finite", "a NaN"),
        ({f"{PREFIX}{Q}.lora_B.weight": floats(8, 3, value=3e38)}, "adapter-not-finite", "beyond float32"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_account_for_each_other_are_refused(
    plain: Path, tmp_path: Path, change: dict[str, Any], code: str, message: str
) -> None:
    rewrite(plain / "adapter/adapter_model.safetensors", change)
    with pytest.raises(BadCheckpoint, match=message) as caught:
        merge(plain, tmp_path / "out")
    assert caught.value.code == code


def test_an_adapter_of_some_layers_says_so_or_is_refused(plain: Path, tmp_path: Path) -> None:
    gone = {
        f"{PREFIX}model.layers.1.{module}.lora_{side}.weight": None
        for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")
        for side in "AB"
    }
    rewrite(plain / "adapter/adapter_model.safetensors", gone)
    with pytest.raises(BadCheckpoint, match=r"holds nothing for 'model\.layers\.1\."):
        merge(plain, tmp_path / "cut")
    out = merge(configure(plain, layers_to_transform=[0]), tmp_path / "stated")
    assert not [line for line in compare(plain / "base", out) if "layers.1" in line]


def test_a_saved_module_of_another_shape_is_refused(tmp_path: Path) -> None:
    case = Path(shutil.copytree(REFERENCE / "patterns", tmp_path / "case"))
    rewrite(case / "adapter/adapter_model.safetensors", {f"{PREFIX}lm_head.weight": floats(13, 8)})
    with pytest.raises(BadCheckpoint, match=r"brings \[13, 8\] for 'lm_head\.weight'") as caught:
        merge(case, tmp_path / "out")
    assert caught.value.code == "adapter-shape"
