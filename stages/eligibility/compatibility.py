"""Rules on structure: may these tensors be added up, and would the sum mean anything?"""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.verdict import Finding
from stages.eligibility.facts import Facts, Parent, Tensor, finding, shown

# Kept out of the comparison: they say how weights are stored or were trained, not what they compute.
IGNORED: Final = frozenset(
    {
        "_name_or_path",
        "attention_dropout",
        "dtype",
        "initializer_range",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
ASPECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "normalisation": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "RoPE": ("rope_theta", "rope_scaling", "partial_rotary_factor", "max_position_embeddings"),
    "head layout": ("num_attention_heads", "num_key_value_heads", "head_dim"),
    "activation": ("hidden_act", "hidden_activation", "activation_function"),
    "tied weights": ("tie_word_embeddings",),
    "vocabulary": ("vocab_size",),
    "architecture": ("model_type", "architectures", "hidden_size", "intermediate_size", "num_hidden_layers"),
}
ABSENT: Final = "absent"
EMBEDDINGS: Final = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight")
HEAD: Final = "lm_head.weight"
PROJECTIONS: Final[Mapping[str, str]] = {  # endings of names → the key of how many heads their rows are
    "self_attn.q_proj.weight": "num_attention_heads",
    "self_attn.k_proj.weight": "num_key_value_heads",
    "self_attn.v_proj.weight": "num_key_value_heads",
}


def digests(facts: Facts) -> Finding:
    """The files that the rules read are the ones that were acquired."""
    problems = [f"{parent.id}: {shown(parent.altered)} changed" for parent in facts.family if parent.altered]
    measured = facts.measured
    if measured and measured.left_to == "digests" and measured.problem:
        problems.append(measured.problem)
    hashed = measured is not None and measured.survey is not None
    return finding(
        "digests",
        problems,
        fine="every file is what its manifest says (weights by "
        + ("sha256, as they were measured)" if hashed else "size here; by sha256 where they are loaded)"),
        move="Run `dvc repro --force parents` to acquire them again.",
        evidence={parent.id: parent.manifest.digest for parent in facts.family},
    )


def base_family(facts: Facts) -> Finding:
    """One family: each parent says that it was tuned from this base, and the base says that it is one."""
    problems = []
    reference = facts.reference
    if facts.base and facts.base.card.role != "base":
        problems.append(
            f"{facts.base.id} is used as the base, but its card says role {facts.base.card.role!r}"
        )
    for parent in facts.parents:
        if parent.card.family != reference.card.family:
            problems.append(
                f"{parent.id} is of family {parent.card.family!r}, expected {reference.card.family!r}"
            )
        if facts.base and parent.card.base != facts.base.id:
            problems.append(f"{parent.id} was tuned from {parent.card.base!r}, expected {facts.base.id!r}")
    return finding(
        "base_family",
        problems,
        fine=f"all are of family {reference.card.family!r}",
        move="Choose parents of one history, or align them before merging.",
        evidence={
            parent.id: {"family": parent.card.family, "role": parent.card.role, "base": parent.card.base}
            for parent in facts.family
        },
    )


def base_for_methods(facts: Facts) -> Finding:
    """Methods that work on task vectors have a base to subtract."""
    lacking = [] if facts.base else [name for name, needs_base in facts.methods.items() if needs_base]
    return finding(
        "base_for_methods",
        [f"{shown(lacking)} work on the difference to a base, and there is none"] if lacking else [],
        fine="every method has the base that it needs",
        move="Name the base in conf/parents, or choose linear or slerp.",
        evidence={"base": facts.base.id if facts.base else None, "needed_by": _needing(facts)},
    )


def tensors(facts: Facts) -> Finding:
    """The same tensor names, shapes and dtypes in every model."""
    reference = facts.reference
    differences = [
        {"parent": parent.id, "tensor": name, "expected": expected, "got": got}
        for parent in facts.family[1:]
        for name, expected, got in _tensor_differences(reference.tensors, parent.tensors)
    ]
    problems = [
        f"{found['parent']}: {found['tensor']} expected {found['expected']}, got {found['got']}"
        for found in differences
    ]
    return finding(
        "tensors",
        [shown(problems)] if problems else [],
        fine=f"{len(reference.tensors)} tensors agree in name, shape and dtype",
        move=f"Expected is what {reference.id} has. Choose parents of one architecture and dtype.",
        evidence={"reference": reference.id, "tensors": len(reference.tensors), "differences": differences},
    )


def configuration(facts: Facts) -> Finding:
    """What config.json says beside the shapes: other heads or RoPE compute something else."""
    reference = effective(facts.reference.config)
    differences = []
    for parent in facts.family[1:]:
        other = effective(parent.config)
        differences += [
            {
                "parent": parent.id,
                "aspect": _aspect(key),
                "key": key,
                "expected": reference.get(key, ABSENT),
                "got": other.get(key, ABSENT),
            }
            for key in sorted(reference.keys() | other.keys())
            if reference.get(key, ABSENT) != other.get(key, ABSENT)
        ]
    problems = [
        f"{found['parent']} ({found['aspect']}): {found['key']} "
        f"expected {found['expected']}, got {found['got']}"
        for found in differences
    ]
    return finding(
        "configuration",
        problems,
        fine="normalisation, RoPE, head layout, activation, tied weights and vocabulary size agree",
        move=f"Expected is what {facts.reference.id} has. Choose parents that compute the same function.",
        evidence={
            "reference": facts.reference.id,
            "stated": {
                aspect: {key: reference[key] for key in keys if key in reference}
                for aspect, keys in ASPECTS.items()
            },
            "differences": differences,
        },
    )


def self_consistency(facts: Facts) -> Finding:
    """Each configuration agrees with its own tensors and tokenizer: vocabulary, ids, heads, tied head."""
    problems = [f"{parent.id}: {problem}" for parent in facts.family for problem in _inconsistencies(parent)]
    return finding(
        "self_consistency",
        problems,
        fine="every configuration agrees with its own tensors and tokenizer",
        move="Correct config.json at the source, or save the model again.",
        evidence={parent.id: _vocabulary(parent) for parent in facts.family},
    )


def effective(config: Mapping[str, Json]) -> dict[str, str]:
    """What of the configuration decides the function: key → JSON text; null is absent.

    The two spellings of heads and of RoPE are made one, and so are 1 and 1.0 (but not 1 and true).
    """
    tree = {key: value for key, value in config.items() if key not in IGNORED}
    heads, hidden = tree.get("num_attention_heads"), tree.get("hidden_size")
    if isinstance(heads, int) and heads > 0:
        tree["num_key_value_heads"] = tree.get("num_key_value_heads") or heads
        if isinstance(hidden, int):
            tree["head_dim"] = tree.get("head_dim") or hidden // heads
    modern, older = tree.pop("rope_parameters", None), tree.pop("rope_scaling", None)
    rope = dict(modern) if isinstance(modern, dict) else dict(older) if isinstance(older, dict) else {}
    theta = rope.pop("rope_theta", tree.pop("rope_theta", None))
    kind = rope.pop("rope_type", rope.pop("type", "default"))
    if theta is not None:
        tree["rope_theta"] = theta
    if rope or kind != "default":
        tree["rope_scaling"] = {"rope_type": kind, **rope}
    return {
        key: json.dumps(_plain(value), sort_keys=True) for key, value in tree.items() if value is not None
    }


def _plain(value: Json) -> Json:
    """The same tree with whole floats as integers, the way canonical JSON writes them."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _tensor_differences(
    reference: Mapping[str, Tensor], other: Mapping[str, Tensor]
) -> Iterator[tuple[str, str, str]]:
    for name in sorted(reference.keys() | other.keys()):
        expected, got = reference.get(name), other.get(name)
        if expected != got:
            yield name, str(expected or ABSENT), str(got or ABSENT)


def _aspect(key: str) -> str:
    return next((aspect for aspect, keys in ASPECTS.items() if key in keys), "other")


def _needing(facts: Facts) -> list[str]:
    return [name for name, needs_base in facts.methods.items() if needs_base]


def _inconsistencies(parent: Parent) -> Iterator[str]:
    size, tied = parent.config.get("vocab_size"), parent.config.get("tie_word_embeddings")
    for name, tensor in parent.tensors.items():
        if name.endswith((*EMBEDDINGS, HEAD)) and tensor.shape[:1] != (size,):
            yield f"vocab_size is {size}, and {name} has {tensor.shape[0] if tensor.shape else 0} rows"
    largest = max(_token_ids(parent.tokenizer), default=-1)
    if isinstance(size, int) and largest >= size:
        yield f"vocab_size is {size}, and the tokenizer gives the id {largest}"
    yield from _head_layout(parent)
    if tied is True and HEAD in parent.tensors:
        yield f"tie_word_embeddings is true, and there is a {HEAD} of its own"
    named = parent.config.get("architectures")
    causal = any(str(name).endswith("ForCausalLM") for name in (named if isinstance(named, list) else ()))
    if tied is False and causal and HEAD not in parent.tensors:
        yield f"tie_word_embeddings is false, and there is no {HEAD}"


def _head_layout(parent: Parent) -> Iterator[str]:
    """Projections whose rows are not as many heads of that size as the configuration says."""
    stated = effective(parent.config)
    size = stated.get("head_dim", "")
    for ending, key in PROJECTIONS.items():
        heads = stated.get(key, "")
        if not (size.isdecimal() and heads.isdecimal()):
            continue
        wanted = int(heads) * int(size)
        for name, tensor in parent.tensors.items():
            if name.endswith(ending) and tensor.shape[:1] != (wanted,):
                rows = tensor.shape[0] if tensor.shape else 0
                yield f"{key} is {heads} of {size} rows each, and {name} has {rows}"
                break


def _vocabulary(parent: Parent) -> Json:
    """Rows of the vocabulary, the ids that the tokenizer gives, and the rows that only pad."""
    size, largest = parent.config.get("vocab_size"), max(_token_ids(parent.tokenizer), default=-1)
    padding = size - largest - 1 if type(size) is int and abs(size) < 1 << 53 else None
    return {"vocab_size": str(size), "largest_id": str(largest), "padding": str(padding)}


def _token_ids(tokenizer: Mapping[str, Json]) -> Iterator[int]:
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from (identifier for identifier in vocabulary.values() if isinstance(identifier, int))
    elif isinstance(vocabulary, list):  # Unigram: the place in the list is the id
        yield len(vocabulary) - 1
    added = tokenizer.get("added_tokens")
    for token in added if isinstance(added, list) else ():
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            yield token["id"]
