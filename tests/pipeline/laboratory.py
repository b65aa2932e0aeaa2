"""A copy of the repository in a temporary folder, small enough to run the real pipeline in a test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRACKED = ("conf", "data/sources", "stages", ".dvc/config", ".dvc/.gitignore")
FILES = ("dvc.yaml", "params.yaml", "constraints.txt", ".dvcignore", ".gitignore", "pyproject.toml")
SMALL = ("budget=smoke", "suite=smoke")


class Laboratory:
    """One working copy. `run` is the mergelab command there, `git` is git, `dvc` is dvc."""

    def __init__(self, folder: Path, *, git: bool = True) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        for name in TRACKED:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, target)
        for name in FILES:
            shutil.copy2(ROOT / name, folder / name)
        if git:
            self.git("init", "--quiet", "--initial-branch=main")
            self.commit("start")

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def git(self, *arguments: str) -> str:
        """Run git here; its output."""
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        return self._command(["git", *identity, *arguments])

    def run(self, *arguments: str, **environment: str) -> str:
        """Run `mergelab ...` here; its output. Raises AssertionError with both streams if it fails."""
        return self._command([sys.executable, "-m", "stages.cli", *arguments], **environment)

    def python(self, *arguments: str) -> str:
        """Run this interpreter here."""
        return self._command([sys.executable, *arguments])

    def dvc(self, *arguments: str, **environment: str) -> str:
        """Run `dvc ...` here."""
        return self._command([sys.executable, "-m", "dvc", *arguments], **environment)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `mergelab ...` in a session of its own, so that a test can kill all of it."""
        return subprocess.Popen(
            [sys.executable, "-m", "stages.cli", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of commands here: this copy's code, this interpreter, no network."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **more,
        }

    def lock(self) -> str:
        """The text of dvc.lock."""
        return (self.folder / "dvc.lock").read_text()

    def candidates(self) -> list[Path]:
        """The candidate folders, in sorted order."""
        return sorted(path.parent for path in (self.folder / "data/candidates").glob("*/lineage.json"))

    def _command(self, command: list[str], **more: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (
            f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout
