"""`mergelab parents`: thin, as `mergelab` is. What is done is in stages/parents and stages/measuring.py."""

from typing import Annotated

import typer

from stages.console import out, print_json, repository, requested, told

parents = typer.Typer(
    help="Parents: fetch them, pin them, measure them.", no_args_is_help=True, rich_markup_mode=None
)

Overrides = Annotated[list[str] | None, typer.Argument(help="Hydra overrides, e.g. parents=mine suite=mine")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@parents.command()
def fetch(
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list files and bytes.")] = False,
) -> None:
    """Fetch what the request's parents need, so that a run needs no network; resumes where it was cut."""
    from stages.parents.fetch import fetch as fetching

    with told():
        root = repository()
        found = fetching(requested(root, overrides)[0].parents, root, dry_run=dry_run)
        for need in found:
            out.print(f"{need.parent}/{need.file}: " + (f"{need.bytes:,} bytes" if need.bytes else "here"))
        total = sum(need.bytes for need in found)
        out.print(f"{total:,} bytes {'to fetch' if dry_run else 'fetched'}")


@parents.command()
def pin(source: str) -> None:
    """Fetch SOURCE ('{kind: hub, repo: …, commit: …}') once, and print it with the digests to commit."""
    from stages.parents.pin import pin as pinning

    with told():
        out.print(pinning(source, repository()).text(), markup=False, soft_wrap=True, end="")


@parents.command()
def cards(overrides: Overrides = None) -> None:
    """Begin a card for each parent that has none; what only a person knows is left to be filled in."""
    from stages import compose
    from stages.conf import load_request
    from stages.parents.begin import begin

    with told():
        root = repository()
        known = compose.unchecked(root, overrides)[0] if overrides else load_request(root / "params.yaml")
        for place in (begun := begin(known, root)):
            out.print(f"wrote {place}", markup=False, soft_wrap=True)
        out.print(
            "fill in every null and empty string, then `mergelab parents measure --write`"
            if begun
            else "every parent has a card, or keeps it outside the repository"
        )


@parents.command()
def measure(
    overrides: Overrides = None,
    items: Annotated[int, typer.Option(min=1, help="Items of each task, at most.")] = 200,
    write: Annotated[bool, typer.Option("--write", help="Put the scores into the cards.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be asked.")] = False,
    as_json: Json = False,
) -> None:
    """Measure base and parents by the request's suite, for their cards; no hidden case is looked at."""
    from stages import measuring

    with told():
        root = repository()
        request, _ = requested(root, overrides)
        if dry_run:
            sizes = {task: len(found) for task, found in measuring.cases(request.suite, root, items).items()}
            print_json(sizes) if as_json else out.print(measuring.asked(sizes, request.parents), markup=False)
            return
        found = measuring.measure(request, root, items)
        changed = measuring.write(found, root) if write else []
        if as_json:
            print_json([one.to_json() for one in found])
            return
        out.print(measuring.table(found))
        out.print(measuring.next_move(found, changed, written=write), markup=False, soft_wrap=True)
