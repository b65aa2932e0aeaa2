"""What every command shares: the two consoles, the repository, the request, and errors as exit codes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from stages.core.entry import NO_PLACE, no_place
from stages.core.errors import BadRequest, LabError

INTERRUPTED = 130
out = Console(highlight=False)
err = Console(stderr=True, highlight=False, markup=False)


def requested(root: Path, overrides: list[str] | None) -> tuple[Any, str]:
    """The request, checked: composed from overrides if there are any, else params.yaml as it stands."""
    from stages import compose as composing
    from stages.conf import load_request

    if overrides:
        return composing.request(root, overrides)
    request = load_request(root / "params.yaml")
    if problems := list(composing.inconsistencies(root, request)):
        raise BadRequest([f"params.yaml: {problem}" for problem in problems])
    return request, ""


def repository() -> Path:
    """The nearest folder upward that holds dvc.yaml and conf/. Raises LabError outside of one."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "conf").is_dir():
            return folder
    raise LabError(f"{here} is in no merge lab: expected dvc.yaml and conf/ here or above. Change directory.")


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=1, sort_keys=True) + "\n")


@contextmanager
def told() -> Iterator[None]:
    """Turn the lab's own errors into one message on stderr and an exit code."""
    try:
        yield
    except BadRequest as refused:
        for problem in refused.problems:
            err.print(problem, soft_wrap=True)
        raise typer.Exit(1) from None
    except LabError as failure:
        err.print(str(failure), soft_wrap=True)
        raise typer.Exit(1) from None
    except OSError as failure:
        if failure.errno not in NO_PLACE:
            raise
        err.print(no_place(failure), soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        err.print("interrupted; what is finished is kept, the next run goes on from there")
        raise typer.Exit(INTERRUPTED) from None
