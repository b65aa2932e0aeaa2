"""Calls by which a program reaches production, told by the syntax of a file: names, and whose they are.

A name that only an upload has (`push_to_hub`) counts wherever it stands, called or not; one that other things
have too (`post`, `put`) counts on a client or module that sends. Strings count as the names they may become.
"""

import ast
from collections.abc import Iterator
from typing import Final

UPLOADS: Final = frozenset(
    # huggingface_hub
    [
        "push_to_hub",
        "push_to_hub_fastai",
        "push_to_hub_keras",
        "upload_file",
        "upload_folder",
        "upload_large_folder",
        "create_repo",
        "create_commit",
        "create_commits_on_pr",
        "create_branch",
        "create_tag",
        "create_pull_request",
        "create_discussion",
        "create_collection",
        "create_inference_endpoint",
        "preupload_lfs_files",
        "run_as_future",
        "delete_repo",
        "move_repo",
        "update_repo_settings",
        "update_repo_visibility",
        "add_space_secret",
        "CommitScheduler",
        "CommitOperationAdd",
        "register_model",
        "create_registered_model",
        "create_model_version",
        "set_registered_model_alias",
        "set_registered_model_tag",
        "transition_model_version_stage",
        "update_model_version",
        "log_artifact",
        "log_artifacts",
        "log_model",
        "link_model",
        "link_artifact",
        "use_model",
        "create_model_package",
        "update_model_package",
        "upload_model",
        "create_endpoint",
        "update_endpoint",
        "put_object",
        "upload_fileobj",
        "upload_blob",
        "upload_from_filename",
        "upload_from_string",
        "upload_part",
        "create_multipart_upload",
        "complete_multipart_upload",
        "put_bucket_policy",
        "send_message",
    ]
)
SENDING: Final = frozenset(
    {"post", "put", "patch", "delete", "request", "urlopen", "Request", "send", "push"}
)
SENDERS: Final = frozenset(  # modules and customary names of clients
    [
        "requests",
        "httpx",
        "aiohttp",
        "urllib",
        "urllib3",
        "http",
        "session",
        "client",
        "repo",
        "remote",
        "git",
        "dvc",
    ]
)
PUSHING_IMPORTS: Final = frozenset(
    [
        "mlflow",
        "wandb",
        "boto3",
        "botocore",
        "sagemaker",
        "comet_ml",
        "neptune",
        "clearml",
        "smtplib",
        "paramiko",
        "telnetlib",
        "kubernetes",
        "docker",
        "google.cloud",
        "azure",
    ]
)
CREDENTIALS: Final = frozenset(
    [
        "get_token",
        "login",
        "notebook_login",
        "interpreter_login",
        "HfFolder",
        "get_credentials",
        "netrc",
        "keyring",
        "getpass",
        "load_credentials",
        "get_session_token",
        "default_credentials",
    ]
)
CREDENTIAL_IMPORTS: Final = frozenset({"netrc", "keyring", "getpass", "huggingface_hub.login"})
SECRETS: Final = (  # in any string: variables and files in which people keep secrets
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_TOKEN",
    "AWS_",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_",
    "GITHUB_TOKEN",
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "COSIGN_PASSWORD",
    "PASSPHRASE",
    ".netrc",
    ".ssh/",
    ".aws/",
    ".docker/config",
    ".pypirc",
)


def pushes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of whatever uploads, writes to a registry or sends."""
    for line, module in _imports(tree):
        if _within(module, PUSHING_IMPORTS):
            yield line, f"import {module}"
        if module.split(".")[-1] in UPLOADS:
            yield line, module
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in UPLOADS:
                yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Constant) and node.value in UPLOADS:
            yield node.lineno, repr(node.value)
        if isinstance(node, ast.List | ast.Tuple) and node.elts and ast.unparse(node.elts[0]) == "'push'":
            yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Attribute) and node.attr in SENDING:
            owners = {part.lower().lstrip("_") for part in _parts(node.value)}
            if owners & SENDERS:
                yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in SENDERS:
            yield from (
                (node.lineno, f"{node.module}.{one.name}") for one in node.names if one.name in SENDING
            )


def secrets(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of whatever reads a credential."""
    documents = {id(text) for text in _docstrings(tree)}
    for line, module in _imports(tree):
        if _within(module, CREDENTIAL_IMPORTS) or module.split(".")[-1] in CREDENTIALS:
            yield line, f"import {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in CREDENTIALS:
                yield node.lineno, ast.unparse(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield from ((node.lineno, repr(node.value)) for secret in SECRETS if secret in node.value)


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{one.name}") for one in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            yield node.lineno, ast.unparse(node.args[0]).strip("'")


def _within(module: str, packages: frozenset[str]) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in packages)


def _parts(node: ast.AST) -> Iterator[str]:
    """The names in an expression such as `self.session.headers` or `requests.Session()`."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value
