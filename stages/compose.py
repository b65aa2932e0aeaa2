"""From conf/ to params.yaml, by Hydra; and everything that is wrong with a configuration, at once.

DVC composes the same way (`dvc exp run -S method=ties`), and both give the same file.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stages import conf_files, tasks
from stages.conf import Parameter, Request, load_request, parse, unsearchable
from stages.core.errors import BadRequest
from stages.core.records.schema import nearest
from stages.core.weights import registry
from stages.parents import sources

CONFIG = "config"
PARAMS = Path("params.yaml")


@dataclass(frozen=True)
class Composed:
    """A composed request: the text of params.yaml, and which file of conf/ each group came from."""

    text: str
    choices: dict[str, Any]


def compose(root: Path, overrides: Sequence[str]) -> Composed:
    """Compose conf/ under `root` with Hydra overrides such as 'method=ties', fully resolved.

    Raises BadRequest with every problem of the files and of the overrides (conf_files.py), else naming every
    override that does not compose, with the nearest valid name.
    """
    if problems := conf_files.problems(root, overrides):
        raise BadRequest(problems)
    try:
        return _compose(root, overrides)
    except (HydraException, OmegaConfBaseException) as failure:
        alone = [problem for override in overrides if (problem := _problem(root, override))]
        raise BadRequest(
            alone or [_sentence(root, " ".join(overrides) or "conf/config.yaml", failure)]
        ) from None


def request(root: Path, overrides: Sequence[str]) -> tuple[Request, str]:
    """Compose and check everything; the request and the text of its params.yaml. Raises BadRequest."""
    checked, text = unchecked(root, overrides)
    if problems := list(inconsistencies(root, checked)):
        raise BadRequest(problems)
    return checked, text


def unchecked(root: Path, overrides: Sequence[str]) -> tuple[Request, str]:
    """The same with every key checked by itself alone: files that it names may be missing."""
    composed = compose(root, overrides)
    return parse(yaml.safe_load(composed.text), "the composed request"), composed.text


def check(root: Path) -> list[str]:
    """Every problem of every experiment in conf/experiment and of params.yaml, each with its file and key."""
    problems: list[str] = []
    for path in sorted((root / "conf" / "experiment").glob("*.yaml")):
        try:
            composed = compose(root, [f"experiment={path.stem}"])
            tree = yaml.safe_load(composed.text)
            problems += _check_tree(root, tree, composed.choices, path)
        except BadRequest as refused:
            problems += refused.problems
    try:
        problems += [f"{PARAMS}: {problem}" for problem in inconsistencies(root, load_request(root / PARAMS))]
    except BadRequest as refused:
        problems += refused.problems
    return list(dict.fromkeys(problems))


def inconsistencies(root: Path, request: Request) -> Iterator[str]:
    """What no single key shows: unknown methods and parameters, parents that are not there."""
    for name, method in request.method.items():
        values = {key: parameter.value for key, parameter in method.parameters.items()}
        for problem in registry.problems(name, values, len(request.parents.merge)):
            yield f"method.{problem}"
        if name not in registry.BY_NAME:
            continue
        if method.version != registry.get(name).version:
            yield f"method.{name}.version: expected {registry.get(name).version}, got {method.version}"
        yield from _search_problems(name, method.parameters, len(request.parents.merge))
    yield from tasks.problems(root, request.suite, request.policy)
    for name, member in request.parents.members.items():
        yield from sources.problems(name, member.source, root, adapter=member.adapter_on is not None)
        if member.card and not (root / member.card).is_file():
            problem = f"no file {member.card!r} here: `mergelab parents cards` begins it"
            yield f"parents.members.{name}.card: {problem}"


def _search_problems(name: str, parameters: Mapping[str, Parameter], parents: int) -> Iterator[str]:
    """Only numbers and choices can be searched, and both ends of a numeric range must be legal values."""
    for key, parameter in parameters.items():
        if why := unsearchable(key, parameter):
            yield f"method.{name}.{key}.search: {why}"
            continue
        if registry.problems(name, {key: parameter.value}, parents):
            continue  # told already: the key or its value is wrong
        for end in parameter.search or ():
            for problem in registry.problems(name, {key: end}, parents):
                yield f"method.{problem} (an end of its search range)"
        if parameter.search and not isinstance(parameter.search[0], str):
            low, high = parameter.search
            if not float(low) < float(high):
                yield f"method.{name}.{key}.search: expected [low, high] with low < high, got [{low}, {high}]"


def _compose(root: Path, overrides: Sequence[str]) -> Composed:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str((root / "conf").resolve()), version_base="1.3"):
        config = hydra_compose(CONFIG, overrides=list(overrides), return_hydra_config=True)
        choices = OmegaConf.to_container(config.hydra.runtime.choices)
        OmegaConf.set_struct(config, False)
        config.pop("hydra")
        OmegaConf.resolve(config)
        return Composed(OmegaConf.to_yaml(config), dict(choices))  # type: ignore[arg-type]


def _problem(root: Path, override: str) -> str | None:
    """What is wrong with one override on its own; None if nothing is."""
    try:
        _compose(root, [override])
    except (HydraException, OmegaConfBaseException) as failure:
        return _sentence(root, override, failure)
    return None


def _sentence(root: Path, where: str, failure: Exception) -> str:
    """Hydra's message as one line, with the nearest option or key."""
    text = str(failure)
    if found := re.search(r"Could not find '([\w/]+)/([^']+)'", text):
        group, choice = found.groups()
        options = sorted(path.stem for path in (root / "conf" / group).glob("*.yaml"))
        return f"{where}: conf/{group}/{choice}.yaml does not exist{nearest(choice, options)}"
    if found := re.search(r"Could not override '([^']+)'", text):
        key = found.group(1)
        return f"{where}: unknown key {key!r}{nearest(key, _known_keys(root))}"
    return f"{where}: {' '.join(text.split())}"


def _known_keys(root: Path) -> list[str]:
    """Dotted keys of the default composition, down to the second level."""
    tree = yaml.safe_load(_compose(root, []).text)
    keys = list(tree)
    for key, value in tree.items():
        keys += [f"{key}.{inner}" for inner in value] if isinstance(value, dict) else []
    return keys


def _check_tree(root: Path, tree: Any, choices: dict[str, Any], experiment: Path) -> list[str]:
    """Problems of one composed experiment, each prefixed with the file that holds the key."""
    raw = yaml.safe_load(experiment.read_text(encoding="utf-8")) or {}
    try:
        found = list(inconsistencies(root, parse(tree, "")))
    except BadRequest as refused:
        found = [problem.removeprefix(": ") for problem in refused.problems]
    return [f"{_file_of(problem, raw, choices, experiment)}: {problem}" for problem in found]


def _file_of(problem: str, raw: Any, choices: dict[str, Any], experiment: Path) -> str:
    """The file a key came from: the experiment's own if it sets that key, else the group's chosen file."""
    keys = problem.split(":", maxsplit=1)[0].split(".")
    node = raw
    for key in keys:
        if not isinstance(node, dict) or key not in node:
            break
        node = node[key]
    else:
        return f"conf/experiment/{experiment.name}"
    for choice in (choices.get(keys[0]), *keys[1:2]):  # of a group chosen as a list, the key is the choice
        file = experiment.parents[1] / keys[0] / f"{choice}.yaml"
        if file.is_file():
            return f"conf/{keys[0]}/{choice}.yaml"
    return f"conf/experiment/{experiment.name}"
