"""Another repository with git and DVC in it, made by their own commands."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.parents import tiny

FOLDER = "models/sorter"
PYTHON = Path(sys.executable)


def run(folder: Path, *words: str, python: Path = PYTHON, **environment: str) -> str:
    """What a command prints; git and dvc ask nobody for a name and read no configuration of this machine.

    python: the interpreter whose DVC is meant.
    """
    if words[0] == "dvc":
        words = (str(python), "-m", *words)
    clean = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_NO_ANALYTICS": "1",
    }
    for who in ("AUTHOR", "COMMITTER"):
        clean |= {f"GIT_{who}_NAME": "somebody", f"GIT_{who}_EMAIL": "somebody@example.org"}
    done = subprocess.run(
        words, cwd=folder, env=clean | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def make(
    folder: Path, *, remote: Mapping[str, str] | None = None, python: Path = PYTHON, **environment: str
) -> str:
    """Fill `folder`: weights of a tiny parent in DVC, its other files in git; the commit.

    remote: options of its DVC remote, `url` among them, to which the weights are pushed; None for no remote.
    """
    tiny.write(folder / FOLDER)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    run(folder, "dvc", "init", "--quiet")
    run(folder, "dvc", "add", "--quiet", f"{FOLDER}/model.safetensors")
    for name, value in (remote or {}).items():
        if name == "url":
            run(folder, "dvc", "remote", "add", "--quiet", "--default", "store", value)
        else:
            run(folder, "dvc", "remote", "modify", "--quiet", "store", name, value)
    if remote:
        run(folder, "dvc", "push", "--quiet", python=python, **environment)
    return commit(folder)


def commit(folder: Path) -> str:
    """Everything committed; its hash."""
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "more")
    return run(folder, "git", "rev-parse", "HEAD")
