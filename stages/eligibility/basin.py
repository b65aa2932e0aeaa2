"""Rules on weights: do the parents lie in one basin, part by part where the base has them?

Judged is what workers measured (measured.py). Thresholds are the policy's; each finding holds the numbers, so
that a margin can be seen where nothing was refused. Decision: docs/decisions/0012-basin-probe.md.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from stages.core.records.canonical import Json
from stages.core.records.verdict import Finding
from stages.eligibility.facts import Facts, finding, plain, shown

SPARSIFYING: Final = ("dare_", "della")  # methods that drop entries by chance and rescale those that are left
UNPROBED: Final = {"probed": False}
ALIGN: Final = "Align it to the base first, or choose a parent that was tuned from it."


def finite(facts: Facts) -> Finding:
    """No weight of any model is a NaN, an infinity, or so large that a difference would be one."""
    if outcome := _unmeasured("finite", facts):
        return outcome
    spoiled: dict[str, list[str]] = {}
    for role, tensor in _survey(facts)["not_finite"]:
        spoiled.setdefault(role, []).append(tensor)
    return finding(
        "finite",
        [f"{role} holds a NaN or an infinity in {shown(names)}" for role, names in spoiled.items()],
        fine="every weight of every model is finite",
        move="Repair that checkpoint, or leave it out.",
        evidence={"elements": _survey(facts)["elements"], "not_finite": spoiled},
    )


def distinct(facts: Facts) -> Finding:
    """Every parent was tuned away from the base, and no two are the same model."""
    if outcome := _unmeasured("distinct", facts):
        return outcome
    least, problems = facts.policy.distinct, []
    for name, found in _parents(facts).items():
        if found["relative_norm"] < least:
            problems.append(
                f"{name} lies {found['relative_norm']:.3g} from {facts.reference.id}, "
                f"expected at least {least:g}"
            )
    for pair in _survey(facts)["pairs"]:
        if pair["distance"] < least:
            problems.append(
                f"{pair['a']} and {pair['b']} lie {pair['distance']:.3g} apart, expected at least {least:g}"
            )
    return finding(
        "distinct",
        problems,
        fine="every parent differs from the base and from the others",
        move="There is nothing to merge: leave one of them out.",
        evidence={
            "differing": {name: found["differing"] for name, found in _parents(facts).items()},
            "distance": {
                f"{pair['a']} {pair['b']}": plain(pair["distance"]) for pair in _survey(facts)["pairs"]
            },
        },
    )


def same_basin(facts: Facts) -> Finding:
    """Each parent lies near the base: whole, layer by layer, and in the norm of every matrix."""
    if outcome := _unmeasured("same_basin", facts):
        return outcome
    problems = [
        f"{name}: {problem}" for name, found in _parents(facts).items() for problem in _far(found, facts)
    ]
    return finding(
        "same_basin",
        problems,
        fine=f"every parent lies near {facts.reference.id}, whole and in each layer",
        move=ALIGN,
        evidence={
            "parents": {name: _distances(found) for name, found in _parents(facts).items()},
            "task_vectors": [
                {
                    "of": [pair["a"], pair["b"]],
                    "cosine": _plain(pair["cosine"]),
                    "sign_agreement": _plain(pair["sign_agreement"]),
                }
                for pair in _survey(facts)["pairs"]
            ],
        },
    )


def merge_resistance(facts: Facts) -> Finding:
    """No part of a parent was moved, turned or rescaled: that leaves its function and ruins a merge."""
    if outcome := _unmeasured("merge_resistance", facts):
        return outcome
    problems, evidence = [], {}
    for name, found in _parents(facts).items():
        moved = [unit for unit in found["units"] if unit["lost"] > facts.policy.unit_share * unit["units"]]
        scaled = [pair for pair in found["rescaled"] if pair["units"]]
        phrases = [_moved(unit, facts) for unit in moved] + [_scaled(pair) for pair in scaled]
        problems += [f"{name}: {shown(phrases, 3)}"] if phrases else []
        evidence[name] = {
            "matrices": len(found["units"]),
            "least_cosine": plain(min((unit["least"] for unit in found["units"]), default=1.0)),
            "largest_rescaling": plain(max((pair["factor"] for pair in found["rescaled"]), default=1.0)),
            "strayed": [_strayed(unit) for unit in found["units"] if unit["lost"]],
            "rescaled": [
                {"tensor": pair["tensor"], "units": pair["units"], "factor": plain(pair["factor"])}
                for pair in scaled
            ],
        }
    return finding(
        "merge_resistance",
        problems,
        fine="every neuron, head and token stands where it stands in the base, and is as large",
        move=ALIGN,
        evidence=evidence,
    )


def interpolation(facts: Facts) -> Finding:
    """No barrier: the mean of two models, and that of all parents, is about as good as they are."""
    bound = facts.policy.barrier_nats
    if bound is None:
        return Finding("interpolation", True, "the policy asks for no probe", UNPROBED)
    if outcome := _unmeasured("interpolation", facts):
        return outcome
    losses = facts.measured.losses if facts.measured else None
    if losses is None:
        why = (facts.measured.problem if facts.measured else None) or "nobody ran them"
        return Finding("interpolation", False, f"the means of the models have no loss: {why}", UNPROBED)
    ends, base = losses["ends"], facts.reference.id
    parents = [name for name in ends if name != base]
    barriers = {
        f"{name} with {base}": losses["to_base"][name] - (ends[name] + ends[base]) / 2 for name in parents
    }
    barriers["all parents"] = losses["mean"] - sum(ends[name] for name in parents) / len(parents)
    return finding(
        "interpolation",
        [
            f"the mean of {name} loses {barrier:.2f} nats an answer token, expected at most {bound:g}"
            for name, barrier in barriers.items()
            if not barrier <= bound
        ],
        fine=f"no mean of models loses more than {bound:g} nats an answer token",
        move="They lie in different basins: align one to the other first, or average their outputs.",
        # hundredths: the last digits of a loss depend on the processor, and this file is an input of others
        evidence={
            "loss_nats": {name: round(loss, 2) for name, loss in ends.items()},
            "barrier_nats": {name: round(barrier, 2) for name, barrier in barriers.items()},
            "items_per_skill": facts.policy.probe_items,
        },
    )


def sparsification(facts: Facts) -> Finding:
    """Task vectors are small enough for methods that drop most of them by chance and rescale the rest."""
    if outcome := _unmeasured("sparsification", facts):
        return outcome
    methods = [name for name in facts.methods if name.startswith(SPARSIFYING)]
    bound, problems, evidence = facts.policy.delta_q99, [], {}
    for name, found in _parents(facts).items():
        rms = found["base_rms"] or 1.0
        quantiles = {share: plain(value) for share, value in found["quantiles"].items()}
        evidence[name] = {"delta_quantiles": quantiles, "base_rms": plain(found["base_rms"])}
        ratio = found["quantiles"]["0.99"] / rms
        if methods and ratio > bound:
            problems.append(
                f"{name}: the 99th percentile of |delta| is {ratio:.2f} of the base's RMS, "
                f"expected at most {bound:g}"
            )
    return finding(
        "sparsification",
        problems,
        fine="task vectors are small enough to be dropped by chance"
        if methods
        else "no method drops by chance",
        move=f"Leave out {shown(methods)}: rescaled entries this large outgrow the weights.",
        evidence={"methods": methods, "parents": evidence},
    )


def _unmeasured(rule: str, facts: Facts) -> Finding | None:
    """The finding where there are no numbers: passed only if the rule that it is left to refuses for that."""
    measured = facts.measured
    if measured is None:
        return Finding(rule, False, "the weights were never measured. Run `dvc repro eligibility`.")
    if measured.left_to == rule:
        return None
    if measured.left_to:
        return Finding(rule, True, f"not measured: left to the rule {measured.left_to}", {"measured": False})
    if measured.survey is None:
        return Finding(rule, False, f"could not be measured: {measured.problem}", {"measured": False})
    return None


def _survey(facts: Facts) -> Json:
    return facts.measured.survey if facts.measured else {}


def _parents(facts: Facts) -> Mapping[str, Json]:
    found: Mapping[str, Json] = _survey(facts)["parents"]
    return found


def _far(found: Json, facts: Facts) -> Iterator[str]:
    """Every distance of one parent that is beyond its bound; of layers the worst alone."""
    policy = facts.policy
    layer, nearest = min(found["groups"].items(), key=lambda item: float(item[1]["cosine"]))
    for where, numbers in (("", found), (f" in {layer}", nearest)):
        if not numbers["cosine"] >= policy.weight_cosine:
            yield (
                f"cosine of its weights with the base's is {numbers['cosine']:.3f}{where}, "
                f"expected at least {policy.weight_cosine:g}"
            )
    layer, farthest = max(found["groups"].items(), key=lambda item: float(item[1]["relative_norm"]))
    for where, numbers in (("", found), (f" in {layer}", farthest)):
        if not numbers["relative_norm"] <= policy.relative_norm:
            yield (
                f"its task vector is {numbers['relative_norm']:.2f} of the base{where}, "
                f"expected at most {policy.relative_norm:g}"
            )
    for name, ratio in found["tensor_norms"].items():
        if not 1 / policy.norm_factor <= ratio <= policy.norm_factor:
            yield f"{name} is {ratio:.3g} times as large as the base's"
            return


def _distances(found: Json) -> Json:
    keys = ("cosine", "relative_norm", "norm_ratio")
    return {
        **{key: plain(found[key]) for key in keys},
        "groups": {name: {key: plain(one[key]) for key in keys} for name, one in found["groups"].items()},
    }


def _moved(unit: Json, facts: Facts) -> str:
    """What happened to a matrix, by where its strayed units lie in the base."""
    bound = facts.policy.unit_cosine
    elsewhere = [pair for pair in unit["matched"] if pair[0] != pair[1] and abs(pair[2]) >= bound]
    turned = [pair for pair in unit["matched"] if pair[0] == pair[1] and pair[2] <= -bound]
    looked = len(unit["matched"])
    phrase = f"{unit['lost']} of {unit['units']} {unit['kind']} of {unit['tensor']} are not where they were"
    if 2 * len(elsewhere) > looked:
        examples = [
            f"{_named(pair[0], unit, facts)} is the base's {_named(pair[1], unit, facts)}"
            for pair in elsewhere[:2]
        ]
        return (
            f"{phrase}; reordered: of {looked} looked for, {len(elsewhere)} lie elsewhere "
            f"({', '.join(examples)})"
        )
    if 2 * len(turned) > looked:
        return f"{phrase}; turned: of {looked} looked for, {len(turned)} changed their sign"
    nowhere = looked - len(elsewhere) - len(turned)
    return f"{phrase}; of {looked} looked for, {nowhere} are nowhere: mixed, or unrelated"


def _named(number: int, unit: Json, facts: Facts) -> str:
    """A unit for a message: of tokens also the text."""
    if unit["kind"] != "tokens":
        return str(number)
    model = facts.reference.tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    texts = vocabulary.items() if isinstance(vocabulary, dict) else ()
    text = next((text for text, identifier in texts if identifier == number), None)
    return f"{number} {text!r}" if text is not None else str(number)


def _scaled(pair: Json) -> str:
    return (
        f"{pair['units']} rows or columns of {pair['tensor']} were rescaled by up to {pair['factor']:.3g}, "
        f"and {shown(pair['partners'])} the other way"
    )


def _strayed(unit: Json) -> Json:
    return {
        "tensor": unit["tensor"],
        "units": unit["units"],
        "strayed": unit["lost"],
        "least_cosine": plain(unit["least"]),
        "matched": [[pair[0], pair[1], round(pair[2], 3)] for pair in unit["matched"][:5]],
    }


def _plain(value: float | None) -> float | None:
    return None if value is None else plain(value)
