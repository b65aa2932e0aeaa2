"""Hostile configurations, through the commands that read them: refused in one message, nothing written."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stages.cli import app
from tests.architecture.tree import ROOT
from tests.attacks.conftest import Unharmed

SHIPPED = (ROOT / "conf/experiment/shipped.yaml").read_text()
TITLE = "One model from two specialists"
COMPOSE = ("compose", "experiment=evil")
CHECK = ("check",)
MERGE = ("merge", "evil.yml", "--out", "out")
IMPORT = ("import", "evil.yml")
PARENTS = "parents: [data/sources/pico-a, data/sources/pico-b]\n"
BASE = "base: data/sources/pico-base\n"
BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
DEEP = "x: " + "[" * 20_000 + "]" * 20_000 + "\n"
HUGE = ", ".join(str(number) for number in range(12_000))
PYTHON = "!!python/object/apply:os.system [touch pwned]"


@dataclass(frozen=True)
class Attack:
    """What is put where, the command that meets it, and what it must say.

    text: written to `file` under the repository; spoil: done besides.
    """

    command: tuple[str, ...]
    says: str
    text: str | bytes = ""
    file: str = "conf/experiment/evil.yaml"
    spoil: Callable[[Path], object] = field(default=lambda root: None)


def experiment(says: str, more: str = "", title: str = TITLE, command: tuple[str, ...] = COMPOSE) -> Attack:
    """An experiment file: the shipped one under another id, its title replaced, and what follows it."""
    return Attack(command, says, SHIPPED.replace("id: shipped", "id: evil").replace(TITLE, title) + more)


def shipped(says: str, old: str, new: str, file: str = "conf/parents/shipped.yaml") -> Attack:
    """A file of conf/ with one text replaced."""
    text = (ROOT / file).read_text()
    assert old in text
    return Attack(CHECK, says, text.replace(old, new, 1), file)


def params(says: str, new: str | bytes, command: tuple[str, ...] = CHECK) -> Attack:
    """params.yaml with one line replaced, or as it is given."""
    whole = (ROOT / "params.yaml").read_text()
    assert "\nseed: 0\n" in whole
    text = whole.replace("\nseed: 0\n", f"\n{new}\n") if isinstance(new, str) else new
    return Attack(command, says, text, "params.yaml")


def override(says: str, *words: str, spoil: Callable[[Path], object] = lambda root: None) -> Attack:
    """Overrides alone."""
    return Attack(("compose", *words), says, spoil=spoil)


def recipe(says: str, text: str | bytes, command: tuple[str, ...] = MERGE) -> Attack:
    """A recipe file for `merge` or `import`."""
    return Attack(command, says, text, "evil.yml")


def outside(root: Path) -> None:
    """A configuration beside the repository."""
    (root.parent / "elsewhere.yaml").write_text(SHIPPED)


def linked(root: Path) -> None:
    outside(root)
    (root / "conf/experiment/evil.yaml").unlink()
    (root / "conf/experiment/evil.yaml").symlink_to(root.parent / "elsewhere.yaml")


def named(says: str, key: str) -> Attack:
    """An experiment with a further task of that name."""
    return experiment(says, f"suite:\n  tasks:\n    {key}: {{skill: copy, kind: shared}}\n")


ATTACKS: dict[str, Attack] = {
    # what would instantiate or run something
    "a target at the top": experiment("_target_: unknown key", "_target_: os.system\n"),
    "a target in a method": experiment("method.ties._target_:", "method:\n  ties: {_target_: os.system}\n"),
    "a target as an override": override("method.ties._target_:", "+method.ties._target_=os.system"),
    "a partial": experiment("budget._partial_: unknown key", "budget: {_partial_: true}\n"),
    "an object of Python in conf": experiment("could not determine a constructor", f"x: {PYTHON}\n"),
    "an object of Python in params": params("could not determine a constructor", f"seed: {PYTHON}"),
    "an object of Python in a recipe": recipe("could not determine a constructor", f"method: {PYTHON}\n"),
    "an object of Python in an import": recipe(
        "could not determine a constructor", f"method: {PYTHON}\n", IMPORT
    ),
    "an object of Python in a licence": Attack(
        CHECK, "evil.yaml: not YAML of one document", f"spdx: {PYTHON}\n", "conf/licences/evil.yaml"
    ),
    "a function in a task file of lm-eval": Attack(
        CHECK,
        "conf/suite/lm_eval/evil.yaml: not YAML of one document",
        "task: evil\nprocess_docs: !function utils.steal\n",
        "conf/suite/lm_eval/evil.yaml",
    ),
    # what would read the machine, or files that nobody reviews
    "a variable of the machine": experiment("'${oc.env:HOME}' asks the machine", title="${oc.env:HOME}"),
    "a variable in a default": experiment(
        "asks the machine", title="${oc.decode:${oc.env:NOTHING,'a title'}}"
    ),
    "a variable as an override": override("asks the machine", "experiment.title=${oc.env:HOME}"),
    "the clock": experiment("asks the machine", title="${now:%Y-%m-%d}"),
    "Hydra's own settings": experiment("asks the machine", title="${hydra:runtime.cwd}"),
    "a search path": override("unknown key 'hydra'", "hydra.searchpath=[file:///tmp]"),
    "a search path in a file": experiment("hydra: unknown key", "hydra: {searchpath: ['file:///tmp']}\n"),
    "a folder for Hydra to write": override("unknown key 'hydra'", "hydra.run.dir=out"),
    "a choice outside of conf": override(
        "it leads out of conf/", "experiment=../../../elsewhere", spoil=outside
    ),
    "defaults outside of conf": experiment("leads out of conf/", "defaults: [../../../elsewhere@_global_]\n"),
    "a link in conf": Attack(COMPOSE, "evil.yaml: a symbolic link", SHIPPED, spoil=linked),
    "a parent outside": shipped("source-outside", "data/sources/pico-a", "data/sources/../../../etc"),
    "a parent at the root": shipped("source-outside", "data/sources/pico-a", "/etc"),
    "a card outside": shipped(
        "card: string should match pattern",
        "path: data/sources/pico-a}}",
        "path: data/sources/pico-a}, card: data/sources/../../etc/x.json}",
    ),
    # what would end in a traceback, in a hang, or in another request than the one that was read
    "aliases that multiply, in conf": experiment("more than 10000 entries", BOMB),
    "aliases that multiply, in params": params("more than 10000 entries", f"seed: 0\n{BOMB}"),
    "aliases that multiply, in a recipe": recipe("more than 10000 entries", BOMB),
    "aliases that multiply, in an import": recipe("more than 10000 entries", BOMB, IMPORT),
    "aliases that multiply, in a policy": Attack(
        CHECK, "more than 10000 entries", BOMB, "conf/policy/evil.yaml"
    ),
    "brackets in brackets, in conf": experiment("nested more than 64 deep", DEEP),
    "brackets in brackets, in params": params("nested more than 64 deep", f"seed: 0\n{DEEP}"),
    "brackets in brackets, in a recipe": recipe("nested more than 64 deep", DEEP),
    "a map inside itself": recipe("by an alias to what it stands in", "a: &a [*a]\n"),
    "a huge list in conf": experiment("more than 10000 entries", f"parents: {{merge: [{HUGE}]}}\n"),
    "a huge list in a recipe": recipe("more than 10000 entries", f"method: linear\nparents: [{HUGE}]\n"),
    "a recipe without end": Attack(("merge", "/dev/zero", "--out", "out"), "larger than 1048576 bytes"),
    "a key written twice, in conf": experiment("seed: written twice", "seed: 1\nseed: 2\n"),
    "a key written twice, in params": params("seed: written twice", "seed: 0\nseed: 7"),
    "a key written twice, in a recipe": recipe("method: written twice", "method: linear\nmethod: ties\n"),
    "no UTF-8 in conf": Attack(COMPOSE, "not YAML that can be read", SHIPPED.encode() + b"# \xff\n"),
    "no UTF-8 in params": params("not YAML that can be read", b"\xff\xfe", ("run",)),
    "no UTF-8 in a recipe": recipe("not YAML that can be read", b"method: \xff\n"),
    # names
    "an id with a new line": Attack(
        COMPOSE, "experiment.id: string should match", SHIPPED.replace("id: shipped", 'id: "evil\\n"')
    ),
    "an id that is a path": Attack(
        COMPOSE, "experiment.id: string should match", SHIPPED.replace("id: shipped", "id: ../evil")
    ),
    "a parent's id with a new line": shipped("string should match pattern", "pico-a:", '"pico-a\\n":'),
    "a task that is a path": named("string should match pattern", '"../../../evil"'),
    "a task with a new line": named("string should match pattern", '"a\\nb"'),
    "an import under a path": recipe(
        "expected lower-case letters", f"method: linear\n{PARENTS}", (*IMPORT, "--id", "../evil")
    ),
    "an import under a name with a new line": recipe(
        "expected lower-case letters", f"method: linear\n{PARENTS}", (*IMPORT, "--id", "evil\n")
    ),
    "a recipe of a folder that holds no model": recipe(
        "etc", "method: linear\nparents: [/etc, data/sources/pico-a]\n"
    ),
    # numbers
    "NaN in conf": experiment(
        "density: expected a number, got nan", "method: {ties: {density: {value: .nan}}}\n"
    ),
    "infinity in conf": experiment(
        "scale: expected a number, got inf", "method: {ties: {scale: {value: .inf}}}\n"
    ),
    "1e400 in conf": experiment("expected a number, got inf", "method: {ties: {scale: {value: 1.0e+400}}}\n"),
    "NaN at an end of a range": experiment(
        "got nan (an end of its search range)", "method: {ties: {scale: {value: 1.0, search: [0.1, .nan]}}}\n"
    ),
    "NaN as an override": override("expected a number, got nan", "method.ties.density.value=nan"),
    "NaN in a recipe": recipe(
        "parameters.weights: ", f"method: linear\n{PARENTS}parameters: {{weights: [.nan, 1]}}\n"
    ),
    "infinity in an import": recipe(
        "parameters.scale: ", f"method: ties\n{BASE}{PARENTS}parameters: {{scale: .inf}}\n", IMPORT
    ),
    "1e400 in a recipe": recipe(
        "parameters.scale: ", f"method: ties\n{BASE}{PARENTS}parameters: {{scale: 1.0e+400}}\n"
    ),
    # keys that nobody reads, and production
    "an unknown key": experiment("budgt: unknown key; did you mean 'budget'?", "budgt: 1\n"),
    "a misspelt parameter": experiment("Did you mean 'density'?", "method: {ties: {densty: {value: 0.2}}}\n"),
    "a misspelt parameter in a recipe": recipe(
        "parameters.densty is unknown. Did you mean 'density'?",
        f"method: ties\n{BASE}{PARENTS}parameters: {{densty: 0.2}}\n",
    ),
    "an alias of production": experiment("production: unknown key", "production: {alias: prod}\n"),
    "a place to push to": experiment("storage.push_to: unknown key", "storage: {push_to: 's3://prod'}\n"),
    "a registry in a recipe": recipe("registry: unknown key", f"method: linear\n{PARENTS}registry: prod\n"),
    "a merge into the pipeline's outputs": recipe(
        "which only the pipeline writes",
        f"method: linear\n{PARENTS}",
        ("merge", "evil.yml", "--out", "data/candidates/evil"),
    ),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the shipped configuration and sources."""
    root = tmp_path_factory.mktemp("requests") / "lab"
    for name in ("conf", "data/sources"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("dvc.yaml", "params.yaml", "constraints.txt"):
        shutil.copy2(ROOT / name, root / name)
    return root


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_configuration_is_refused_and_leaves_nothing(
    name: str, template: Path, tmp_path: Path, unharmed: Unharmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = ATTACKS[name]
    root = shutil.copytree(template, tmp_path / "lab", copy_function=os.link)
    if attack.text:
        path = root / attack.file
        path.unlink(missing_ok=True)  # a link to the template's: it is replaced, not written to
        path.write_bytes(attack.text if isinstance(attack.text, bytes) else attack.text.encode())
    attack.spoil(root)
    monkeypatch.chdir(root)
    with unharmed(tmp_path):
        done = CliRunner().invoke(app, attack.command)
    assert done.exit_code == 1, (done.stdout, done.stderr, done.exception)
    assert isinstance(done.exception, SystemExit), "no traceback"
    assert attack.says in " ".join(done.stderr.split())
