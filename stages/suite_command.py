"""`mergelab suite`: thin, as `mergelab` is. What the commands do is in stages/suites.py."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from stages.console import out, print_json, repository, requested, told
from stages.core.errors import LabError

suite = typer.Typer(help="Test matrices: what a merge is asked.", no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@suite.command()
def new(  # noqa: PLR0917 -- Typer passes them by name
    name: Annotated[str, typer.Argument(help="Of the suite, of its task and of its files.")],
    data: Annotated[Path, typer.Option(help="JSONL: one object a line, with prompt and answer.")],
    kind: Annotated[
        str | None, typer.Option(help="What it measures; niche with --parent, else shared.")
    ] = None,
    parent: Annotated[str | None, typer.Option(help="The parent whose niche it is.")] = None,
    on: Annotated[str | None, typer.Option(help="The suite that it is added to; '' for none.")] = "generic",
    form: Annotated[str | None, typer.Option(help="A file of conf/suite/lm_eval; else the kind's.")] = None,
    as_json: Json = False,
) -> None:
    """Begin a suite from a file of your own questions: check every line, then write what is to be edited."""
    from stages import suites

    with told():
        root = repository()
        request, _ = requested(root, None)
        kind = suites.kind_of(kind, parent, suites.orders(root, request.parents))
        wanted = suites.Wanted(name, data, kind, parent, on, form)
        found = suites.new(root, wanted, request.policy)
        print_json(found.to_json()) if as_json else out.print(found.text(), markup=False, soft_wrap=True)


@suite.command()
def show(
    name: Annotated[
        str | None, typer.Argument(help="conf/suite/NAME.yaml; else that of params.yaml.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the matrix: each task with its kind, form and items, and what it asks."""
    from stages import suites

    with told():
        root = repository()
        found = suites.composed(root, name)
        rows = suites.matrix(root, found)
        print_json({"name": found.name, "version": found.version, "tasks": rows}) if as_json else out.print(
            suites.table(found, rows)
        )


@suite.command()
def hide(
    file: Annotated[str, typer.Argument(help="Name of a file of cases in the private folder.")],
    folder: Annotated[Path | None, typer.Option(help="The folder; else MERGELAB_PRIVATE.")] = None,
) -> None:
    """Print what a task says to take its hidden cases from a private file: its name and its HMAC."""
    from stages.eval import private

    with told():
        place = folder or (Path(named) if (named := os.environ.get(private.FOLDER)) else None)
        if place is None:
            raise LabError(f"name the private folder: --folder, or {private.FOLDER}.")
        out.print(f"private: {json.dumps({'file': file, 'hmac': private.hide(place, file)})}", soft_wrap=True)
