"""The lab cannot reach production: no upload, no registry, no credential, one folder with a network.

Each check is also shown to fail on planted code, so that none of them passes for want of looking.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import production
from tests.architecture.test_walls import NETWORK
from tests.architecture.tree import ROOT, imports, modules, syntax

PUSHES = {
    "a method of the hub": "api.upload_folder(folder_path='x', repo_id='y')",
    "a function of the hub": "from huggingface_hub import create_repo\ncreate_repo('me/model')",
    "a module under another name": "import huggingface_hub as h\nh.HfApi().create_commit('x', [])",
    "a bound method kept for later": "send = model.push_to_hub",
    "a name in a string": "getattr(api, 'upload_file')('x')",
    "a branch": "HfApi().create_branch('x', branch='main')",
    "a client of mlflow": "from mlflow.tracking import MlflowClient",
    "an alias": "client.set_registered_model_alias('m', 'champion', 3)",
    "a run of wandb": "import wandb\nwandb.init()",
    "an object store": "s3.put_object(Bucket='b', Key='k', Body=b'')",
    "a client of an object store": "import boto3",
    "an import in a function": "def f():\n    import boto3.session",
    "an import by name": "import importlib\nimportlib.import_module('boto3')",
    "requests": "import requests\nrequests.post('https://example.org', data=b'')",
    "a session": "self._session.put(url, data=b'')",
    "a session made in place": "httpx.Client().patch(url)",
    "a bare function": "from requests import post",
    "urllib": "import urllib.request\nurllib.request.urlopen('https://example.org', b'data')",
    "mail": "import smtplib",
    "a push of data": "from dvc.cli import main\nmain(['push', '--all-commits'])",
    "a push by an object": "Repo('.').push()",
}
SECRETS = {
    "a variable": "import os\nos.environ['HF_TOKEN']",
    "a variable with a default": "import os\nos.getenv('AWS_SECRET_ACCESS_KEY', '')",
    "half of a name": "name = 'AWS_' + part",
    "the hub's token": "from huggingface_hub import get_token",
    "the hub's token, by its module": "import huggingface_hub\nhuggingface_hub.get_token()",
    "a login": "huggingface_hub.login()",
    "netrc": "import netrc",
    "its file": "open('/root/.netrc')",
    "a keyring": "import keyring",
    "a terminal that somebody else may own": "from getpass import getpass",
    "a key of ssh": "Path.home() / '.ssh/id_ed25519'",
    "a passphrase": "os.environ.get('MERGELAB_PASSPHRASE')",
}
HARMLESS = [
    "headers = response.headers.get('etag')",
    "queue.put(1)",
    "store.delete('x')",
    "dictionary.get('post')",
    "'''Never takes a token from HF_TOKEN.'''",
    "token = tokenizer.decode(ids)",
]


def found(check: str, tree: ast.AST) -> list[tuple[int, str]]:
    return list(getattr(production, check)(tree))


@pytest.mark.parametrize("name", modules())
def test_module_uploads_nothing_writes_to_no_registry_and_sends_nothing(name: str) -> None:
    assert found("pushes", syntax(modules()[name])) == []


@pytest.mark.parametrize("name", modules())
def test_module_reads_no_credential(name: str) -> None:
    assert found("secrets", syntax(modules()[name])) == []


@pytest.mark.parametrize("kind", PUSHES)
def test_a_planted_upload_is_found(kind: str) -> None:
    assert found("pushes", ast.parse(PUSHES[kind]))


@pytest.mark.parametrize("kind", SECRETS)
def test_a_planted_credential_is_found(kind: str) -> None:
    assert found("secrets", ast.parse(SECRETS[kind]))


@pytest.mark.parametrize("code", HARMLESS)
def test_what_only_looks_like_it_is_left_alone(code: str) -> None:
    assert found("pushes", ast.parse(code)) == found("secrets", ast.parse(code)) == []


def networked(paths: Iterator[tuple[str, Path]]) -> list[str]:
    """Modules outside of parents and the sandbox that import a network library."""
    allowed = ("stages.parents", "stages.core.sandbox")
    return [
        f"{name} imports {imported}"
        for name, path in paths
        for imported in imports(path)
        if imported.split(".")[0] in NETWORK and not name.startswith(allowed)
    ]


def test_a_planted_network_library_outside_of_parents_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def late() -> None:\n    from urllib.request import urlopen\n")
    assert networked(iter([("stages.merge.planted", planted)])) == [
        "stages.merge.planted imports urllib.request.urlopen"
    ]
    assert networked(iter([("stages.parents.planted", planted)])) == []
    assert networked(iter(modules().items())) == []


def test_no_file_of_the_package_is_left_unread() -> None:
    assert set((ROOT / "stages").rglob("*.py")) == set(modules().values())
