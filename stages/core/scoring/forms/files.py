"""lm-eval task files as this room takes them: names, numbers and templates, nothing that runs or fetches.

What may stand in a file is listed, not what may not: a key that lm-eval learns tomorrow is refused until it
is known to be harmless.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from lm_eval import utils

from stages.core.errors import BadRequest

KEYS: Final = (
    "task", "output_type", "dataset_path", "test_split", "doc_to_text", "doc_to_target", "doc_to_choice",
    "description", "target_delimiter", "fewshot_delimiter", "fewshot_config", "num_fewshot", "gen_prefix",
    "generation_kwargs", "filter_list", "metric_list", "should_decontaminate", "metadata", "tag",
)  # fmt: skip
FEWSHOT_KEYS: Final = ("sampler", "samples")  # examples stand in the file: no split is read for them
GENERATION_KEYS: Final = ("until", "max_gen_toks", "do_sample", "temperature")

# lm-eval renders templates in an environment that reaches every attribute of Python's objects
_sandbox = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
_sandbox.filters |= utils.env.filters
utils.env = _sandbox


def read(forms: Path, form: str, output_types: Mapping[str, object]) -> dict[str, Any]:
    """The tree of `forms`/<form>.yaml, without its metrics: they are for lm-eval's command line, and lm-eval
    looks for one that it does not know in places that run code.

    Raises BadRequest with everything that is wrong about it.
    """
    path = forms / f"{form}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(entry.stem for entry in forms.glob("*.yaml")))
        raise BadRequest([f"{path}: no such lm-eval task file (there are: {known})"])
    text = path.read_text(encoding="utf-8")
    if "!function" in text:
        raise BadRequest([f"{path}: '!function' runs code; a task file holds names and numbers only"])
    try:
        tree: Any = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise BadRequest([f"{path}: no YAML: {problem}"]) from problem
    problems = list(_problems(tree, output_types)) if isinstance(tree, dict) else ["expected a mapping"]
    if problems:
        raise BadRequest([f"{path}: {problem}" for problem in problems])
    return {**tree, "dataset_path": "json", "metric_list": []}


def _problems(tree: Mapping[str, Any], output_types: Mapping[str, object]) -> Iterator[str]:
    if tree.get("output_type") not in output_types:
        known = ", ".join(output_types)
        yield f"output_type: expected one of {known}, got {tree.get('output_type')!r}"
    if tree.get("dataset_path", "json") != "json":
        yield f"dataset_path: expected 'json', the case file, got {tree['dataset_path']!r}"
    if not isinstance(tree.get("test_split"), str):
        yield "test_split: expected the name that the case file gets"
    yield from _unknown("", tree, KEYS)
    yield from _unknown("fewshot_config.", tree.get("fewshot_config") or {}, FEWSHOT_KEYS)
    if tree.get("num_fewshot") and not (tree.get("fewshot_config") or {}).get("samples"):
        yield "num_fewshot: examples are missing: give them in fewshot_config.samples"
    yield from _sampled(tree.get("generation_kwargs") or {})


def _unknown(where: str, tree: object, known: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(tree, dict):
        yield f"{where.rstrip('.')}: expected a mapping"
        return
    for key in tree.keys() - set(known):
        yield f"{where}{key}: not taken here (there are: {', '.join(known)})"


def _sampled(generation: object) -> Iterator[str]:
    yield from _unknown("generation_kwargs.", generation, GENERATION_KEYS)
    if isinstance(generation, dict) and (generation.get("do_sample") or generation.get("temperature")):
        yield "generation_kwargs: decoding is greedy: leave do_sample and temperature out, or false and 0"
