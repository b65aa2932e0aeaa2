"""What may stand nowhere in the tree, read off the syntax and the configuration."""

import ast
from collections.abc import Iterator

import pytest
import yaml

from tests.architecture.tree import ROOT, modules, syntax

PICKLES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UPLOADS = {
    "push_to_hub",
    "upload_file",
    "upload_folder",
    "upload_large_folder",
    "create_repo",
    "create_commit",
    "register_model",
    "set_registered_model_alias",
    "create_model_version",
}
CODE_FROM_DATA = {"eval", "exec", "compile", "__import__"}
PROCESS_CALLS = {
    "system",
    "popen",
    "fork",
    "forkpty",
    "posix_spawn",
    "posix_spawnp",
    "execv",
    "execve",
    "execvp",
}


def names_used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every attribute and name in the file, e.g. 'torch.load'."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize("name", modules())
def test_module_loads_no_pickle_uploads_nothing_and_runs_no_data(name: str) -> None:
    path = modules()[name]
    wrong = []
    for line, used in names_used(syntax(path)):
        last = used.split(".")[-1]
        if (
            used.split(".")[0] in PICKLES
            or used in ("torch.load", "np.load", "numpy.load", "yaml.load", "yaml.unsafe_load")
            or last in UPLOADS
            or last == "instantiate"
            or used in CODE_FROM_DATA
            or (used in {f"os.{call}" for call in PROCESS_CALLS} and ".sandbox" not in name)
        ):
            wrong.append(f"{path}:{line} {used}")
    assert not wrong


@pytest.mark.parametrize("name", modules())
def test_module_never_iterates_over_a_set(name: str) -> None:
    path = modules()[name]
    loops = [
        node.iter
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension)
    ]
    unordered = [
        f"{path}:{loop.lineno} {ast.unparse(loop)}"
        for loop in loops
        if isinstance(loop, ast.Set | ast.SetComp)
        or (isinstance(loop, ast.Call) and ast.unparse(loop.func) in ("set", "frozenset"))
    ]
    assert not unordered, "order is an input: sort it, or keep a list"


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: path.name)
def test_configuration_holds_names_and_numbers_only(path) -> None:
    def leaves(tree: object) -> Iterator[object]:
        if isinstance(tree, dict):
            for key, value in tree.items():
                yield key
                yield from leaves(value)
        elif isinstance(tree, list):
            for value in tree:
                yield from leaves(value)
        else:
            yield tree

    for leaf in leaves(yaml.safe_load(path.read_text())):
        text = str(leaf)
        assert text == "_self_" or not text.startswith("_"), f"{path}: {text} would instantiate something"
        assert not text.startswith(("stages.", "torch.", "builtins.", "!function")), (
            f"{path}: import path {text}"
        )
        assert "${oc.env" not in text, f"{path}: {text} leaks the machine into params.yaml"


@pytest.mark.parametrize("name", modules())
def test_files_and_functions_stay_small_enough_to_read(name: str) -> None:
    path = modules()[name]
    assert len(path.read_text().splitlines()) <= 450, path
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 80, f"{path}:{node.lineno} {node.name}"
