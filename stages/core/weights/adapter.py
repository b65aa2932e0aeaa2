"""What a LoRA adapter changes in its base, told from its configuration and the headers of both.

PEFT's format: adapter_config.json says how the numbers are meant, adapter_model.safetensors holds A and B of
each changed matrix, and whole tensors for `modules_to_save`. A key that is not listed here may change the
arithmetic, so it refuses; so does a tensor that nothing accounts for, and a target that the adapter names and
does not hold. Source: LoRA, arXiv 2106.09685; rank-stabilised scaling, arXiv 2312.03732; PEFT 0.21
(tuners/lora).
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from stages.core.errors import BadCheckpoint
from stages.core.records.canonical import Json
from stages.core.weights.header import Entry
from stages.core.weights.reader import TensorSpec

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
PREFIX: Final = "base_model.model."
PAIR: Final = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?P<weight>\.weight)?"
)
FLOATS: Final = ("float32", "bfloat16", "float16")
CONV1D: Final = ("gpt2", "openai-gpt")  # families that keep matrices as [in, out]
MAX_RANK: Final = 1 << 16
PLAIN_PATTERN: Final = re.compile(r"\^?[A-Za-z0-9_.]+")

READ: Final = frozenset({
    "peft_type", "r", "lora_alpha", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "bias",
    "modules_to_save", "init_lora_weights", "target_modules", "exclude_modules", "layers_to_transform",
    "layers_pattern",
})  # fmt: skip
# of training, or of loading: no effect on the merged weights while the keys of OFF are off
WITHOUT_EFFECT: Final = frozenset({
    "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "lora_dropout", "megatron_core", "qalora_group_size", "loftq_config", "eva_config", "corda_config",
    "lora_ga_config", "runtime_config",
})  # fmt: skip
OFF: Final = frozenset({
    "use_dora", "lora_bias", "megatron_config", "trainable_token_indices", "layer_replication",
    "target_parameters", "use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config",
    "velora_config", "monteclora_config", "kasa_config", "ensure_weight_tying",
})  # fmt: skip
# the others (pissa, olora, corda, loftq, lora_ga) change the base itself when training starts
BASE_KEPT: Final = (True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LowRank:
    """W becomes W + scaling · B·A. a, b: names in the adapter. rank ≥ 1.

    transposed: W lies as [in, out] (or is an embedding): its delta is the transpose of B·A.
    """

    a: str
    b: str
    rank: int
    scaling: float
    transposed: bool


@dataclass(frozen=True)
class Whole:
    """W is replaced by the adapter's tensor of that name."""

    name: str


Change = LowRank | Whole


def changes(
    config: Mapping[str, Json],
    adapter: Mapping[str, Entry],
    base: Mapping[str, TensorSpec],
    model_type: object,
) -> dict[str, Change]:
    """Tensor of the base → what the adapter makes of it, for every tensor that it changes.

    config: adapter_config.json. adapter, base: their tensors by name. model_type: of the base's config.json.
    Raises BadCheckpoint: `adapter-config` (a key or value that is not understood), `adapter-tensor` (one that
    nothing accounts for, or half a pair), `adapter-target` (not in the base), `adapter-shape`,
    `adapter-dtype`, `adapter-incomplete` (a module that target_modules names has no pair).
    """
    _check_config(config, model_type)
    found: dict[str, Change] = {}
    for target, change in _each(config, adapter):
        if target not in base:
            _refuse("adapter-target", f"changes {target!r}, which its base does not have")
        if target in found:
            _refuse("adapter-tensor", f"changes {target!r} in two ways")
        _check_fit(target, change, adapter, base[target])
        found[target] = change
    if not found:
        _refuse("adapter-tensor", "changes nothing")
    _check_complete(config, found, base)
    return found


def _check_config(config: Mapping[str, Json], model_type: object) -> None:
    wrong = [f"{key}: not known here" for key in sorted(config.keys() - READ - WITHOUT_EFFECT - OFF)]
    wrong += [
        f"{key}: {config[key]!r} is not done here" for key in sorted(OFF & config.keys()) if config[key]
    ]
    if config.get("peft_type") != "LORA":
        wrong.append(f"peft_type: expected 'LORA', got {config.get('peft_type')!r}")
    if config.get("bias", "none") != "none":
        wrong.append(f"bias: expected 'none', got {config['bias']!r}")
    if config.get("init_lora_weights", True) not in BASE_KEPT:
        wrong.append(
            f"init_lora_weights: {config['init_lora_weights']!r} changes the base when training starts. "
            "Convert the "
            "adapter with PEFT's path_initial_model_for_weight_conversion"
        )
    wrong += [
        f"{key}: expected true or false"
        for key in ("use_rslora", "fan_in_fan_out")
        if type(config.get(key, False)) is not bool
    ]
    wrong += _number_problems("r", config.get("r"), whole=True)
    wrong += _number_problems("lora_alpha", config.get("lora_alpha"), whole=False)
    for key in ("rank_pattern", "alpha_pattern"):
        wrong += _pattern_problems(key, config.get(key) or {})
    saved = config.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) and name for name in saved):
        wrong.append("modules_to_save: expected a list of names")
    if not wrong and config.get("fan_in_fan_out", False) != (model_type in CONV1D):
        wrong.append(
            f"fan_in_fan_out: {config.get('fan_in_fan_out', False)} for a base of type {model_type!r}; "
            "matrices lie as "
            f"[in, out] in {', '.join(CONV1D)} alone"
        )
    if wrong:
        raise BadCheckpoint("adapter-config", "\n".join(f"{CONFIG}: {problem}." for problem in wrong))


def _number_problems(key: str, value: object, *, whole: bool) -> list[str]:
    """A rank or an alpha: positive and finite."""
    kind = int if whole else int | float
    plain = isinstance(value, kind) and not isinstance(value, bool)
    if plain and math.isfinite(value) and 0 < value <= MAX_RANK:  # type: ignore[arg-type,operator]
        return []
    return [f"{key}: expected a {'whole ' if whole else ''}number over 0, at most {MAX_RANK}, got {value!r}"]


def _pattern_problems(key: str, patterns: object) -> list[str]:
    """Keys are regular expressions to PEFT; only those that read the same as plain names are taken."""
    if not isinstance(patterns, dict):
        return [f"{key}: expected a map from module names to numbers"]
    wrong = [
        f"{key}: {name[:80]!r} is more than a module's name"
        for name in patterns
        if not PLAIN_PATTERN.fullmatch(name)
    ]
    for name, value in patterns.items():
        wrong += _number_problems(f"{key}.{name[:80]}", value, whole=key == "rank_pattern")
    return wrong


def _each(config: Mapping[str, Json], adapter: Mapping[str, Entry]) -> Iterator[tuple[str, Change]]:
    """(Tensor of the base, change) for every tensor of the adapter; a pair comes once, by its A."""
    for name in adapter:
        if not name.startswith(PREFIX):
            _refuse("adapter-tensor", f"has a tensor {name!r} that does not begin with {PREFIX!r}")
        inner = name.removeprefix(PREFIX)
        pair = PAIR.fullmatch(inner)
        if pair is None or bool(pair["embedding"]) == bool(pair["weight"]):
            if not _saved(inner, config.get("modules_to_save") or []):
                _refuse(
                    "adapter-tensor",
                    f"has a tensor {name!r} that is no LoRA matrix and in no modules_to_save",
                )
            yield inner, Whole(name)
            continue
        kind, weight = pair["embedding"] or "", pair["weight"] or ""
        sides = {side: f"{PREFIX}{pair['module']}.lora_{kind}{side}{weight}" for side in "AB"}
        if other := next((side for side in sides.values() if side not in adapter), None):
            _refuse("adapter-tensor", f"has {name!r} without {other!r}")
        if pair["side"] == "A":
            yield (
                f"{pair['module']}.weight",
                _low_rank(config, adapter, pair["module"], sides, embedding=bool(kind)),
            )


def _low_rank(
    config: Mapping[str, Json],
    adapter: Mapping[str, Entry],
    module: str,
    sides: Mapping[str, str],
    *,
    embedding: bool,
) -> LowRank:
    rank = _by_pattern(config.get("rank_pattern") or {}, module, config["r"])
    alpha = _by_pattern(config.get("alpha_pattern") or {}, module, config["lora_alpha"])
    held = adapter[sides["A"]].shape
    if len(held) != 2 or held[0] != rank:
        _refuse(
            "adapter-shape", f"has {sides['A']!r} of shape {list(held)}; its configuration says rank {rank}"
        )
    scaling = alpha / math.sqrt(rank) if config.get("use_rslora", False) else alpha / rank
    return LowRank(sides["A"], sides["B"], rank, scaling, embedding or config.get("fan_in_fan_out", False))


def _by_pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """The value of the first pattern that is the module's name or its end, as PEFT looks it up."""
    for name, value in patterns.items():
        plain = name.removeprefix("^")
        if module == plain or (plain == name and module.endswith(f".{name}")):
            return value
    return default


def _saved(tensor: str, modules: list[str]) -> bool:
    """Whether a tensor lies in one of the modules, each named by the end of its path."""
    parts = tensor.split(".")
    paths = [".".join(parts[:n]) for n in range(1, len(parts))]
    return any(path == module or path.endswith(f".{module}") for path in paths for module in modules)


def _check_fit(target: str, change: Change, adapter: Mapping[str, Entry], base: TensorSpec) -> None:
    names = (change.name,) if isinstance(change, Whole) else (change.a, change.b)
    for dtype in (base.dtype, *(adapter[name].dtype for name in names)):
        if dtype not in FLOATS:
            _refuse("adapter-dtype", f"meets {dtype} at {target!r}; expected one of {', '.join(FLOATS)}")
    if isinstance(change, Whole):
        fits, given = adapter[change.name].shape == base.shape, f"{list(adapter[change.name].shape)}"
    else:
        a, b = adapter[change.a].shape, adapter[change.b].shape
        given = f"A {list(a)} and B {list(b)}"
        whole = (a[-1], b[0]) if change.transposed else (b[0], a[-1])
        fits = len(a) == len(b) == 2 and a[0] == b[1] == change.rank and whole == base.shape
    if not fits:
        _refuse("adapter-shape", f"brings {given} for {target!r}, which is {list(base.shape)} in its base")


def _check_complete(
    config: Mapping[str, Json], found: Mapping[str, Change], base: Mapping[str, TensorSpec]
) -> None:
    """Every matrix that a plain list of target_modules names has its pair: a cut adapter would go
    unnoticed."""
    targets = config.get("target_modules")
    narrowed = any(config.get(key) for key in ("exclude_modules", "layers_to_transform", "layers_pattern"))
    if not isinstance(targets, list) or narrowed:
        return
    for tensor, spec in base.items():
        module = tensor.removesuffix(".weight")
        named = any(module == name or module.endswith(f".{name}") for name in targets)
        if module != tensor and len(spec.shape) == 2 and named and tensor not in found:
            _refuse("adapter-incomplete", f"holds nothing for {tensor!r}, which its target_modules name")


def _refuse(code: str, problem: str) -> NoReturn:
    raise BadCheckpoint(code, f"{WEIGHTS} {problem}. Save the adapter again, or merge it with PEFT by hand.")
