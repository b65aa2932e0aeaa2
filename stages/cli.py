"""The `mergelab` command: thin. Each command calls one function of a stage and prints what it returns.

Exit codes: 0 done (a refusal or a rejected candidate is a result), 1 the request, the machine or a signature
is wrong, 2 the command line is wrong, 3 a candidate did not rebuild bit for bit, 130 interrupted. `export`
ends with 3 for changed bytes, 5 for evicted ones, 4 for whatever else may not leave.
"""

import os
import sys
from collections.abc import Iterable
from gc import set_threshold
from pathlib import Path
from typing import Annotated, Any

import typer

from stages import running
from stages.console import err, out, print_json, repository, requested, told
from stages.core.errors import BadRequest, LabError
from stages.parents_command import parents
from stages.suite_command import suite

MISMATCH = 3
GARBAGE = 100_000  # objects made before cycles are looked for: imports make as many, which all stay
LICENCES = Path("conf/licences")

app = typer.Typer(
    help="Safe, reproducible model merging: eligible parents in, a Pareto front with reasons out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(parents, name="parents")
app.add_typer(suite, name="suite")

Overrides = Annotated[list[str] | None, typer.Argument(help="Hydra overrides, e.g. method=ties budget=smoke")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Models = Annotated[list[str] | None, typer.Option(help="NAME=FOLDER: where a model of the recipe lies.")]
Lineage = Annotated[Path | None, typer.Option(help="A lineage.json anywhere, in place of an ID.")]
ParentFolders = Annotated[
    list[Path] | None, typer.Option(help="With --lineage: a folder that is, or holds, parents. May repeat.")
]
Passphrase = Annotated[
    Path | None, typer.Option(help="A file with the key's passphrase; else you are asked.")
]
Id = Annotated[str | None, typer.Option("--id", help="Name of the experiment; else the file's.")]


@app.command()
def compose(overrides: Overrides = None) -> None:
    """Compose conf/ into params.yaml, as `dvc exp run` does."""
    from stages import compose as composing
    from stages.core.records.files import write_text

    with told():
        root = repository()
        write_text(root / "params.yaml", composing.request(root, overrides or [])[1])
        out.print("params.yaml written")


@app.command()
def check(as_json: Json = False) -> None:
    """Report every configuration error at once, with file, key and nearest name."""
    from stages import compose as composing
    from stages.eligibility import listing as show_licences

    with told():
        root = repository()
        problems = [*composing.check(root), *show_licences.problems(root / LICENCES)]
        if as_json:
            print_json({"problems": problems})
        elif not problems:
            out.print("no problems")
        if problems:
            raise BadRequest([] if as_json else problems)


@app.command()
def licences(as_json: Json = False) -> None:
    """List the reviewed table: what each licence permits per intent, what it asks for, who has read it."""
    from stages.eligibility import listing

    with told():
        rows = listing.load(repository() / LICENCES)
        print_json(listing.tree(rows)) if as_json else out.print(listing.table(rows))


@app.command()
def plan(overrides: Overrides = None, as_json: Json = False) -> None:
    """Say what a run would make and cost (candidates, bytes, time, memory), from headers alone."""
    from stages import show
    from stages.merge.survey import survey

    with told():
        root = repository()
        found = survey(root, requested(root, overrides)[0])
        print_json(show.survey_json(found)) if as_json else out.print(show.survey_table(found))


@app.command()
def run(
    overrides: Overrides = None,
    multirun: Annotated[
        bool,
        typer.Option("--multirun", "-m", help="Sweep: one DVC experiment per job; the working tree stays."),
    ] = False,
) -> None:
    """Reproduce the pipeline for params.yaml, or for the overrides given, and print the outcomes."""
    with told():
        root = repository()
        if multirun:
            sweep(root, overrides or [])
            return
        _, text = requested(root, overrides)
        from stages.core.records.files import write_text

        if overrides:
            write_text(root / "params.yaml", text)
        running.reproduce(root)
        show_report(root)


@app.command()
def report() -> None:
    """Print the outcome table of the last run and where the report is."""
    with told():
        show_report(repository())


@app.command()
def explain(candidate: str, as_json: Json = False) -> None:
    """Say what a candidate is, what it is made of, and why it came out as it did. ID may be a prefix."""
    from stages import show

    with told():
        root = repository()
        found = show.story(root, candidate)
        print_json(found) if as_json else out.print(show.story_text(found))


@app.command()
def verify(  # noqa: PLR0917 -- Typer passes them by name
    candidates: Annotated[list[str] | None, typer.Argument(help="Candidate ids or prefixes.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every candidate of data/candidates.")] = False,
    signature: Annotated[bool, typer.Option("--signature", help="Also ask who signed the lineage.")] = False,
    key: Annotated[
        list[Path] | None, typer.Option(help="A public key that counts; else the policy's.")
    ] = None,
    threshold: Annotated[int | None, typer.Option(min=1, help="Keys that must have signed.")] = None,
    lineage: Lineage = None,
    parents: ParentFolders = None,
    as_json: Json = False,
) -> None:
    """Rebuild candidates from their lineage in a temporary folder and compare: MATCH, or what differs.

    --signature: the lineage must first be signed by keys that count. --lineage: no repository is needed.
    """
    from stages import signing
    from stages.merge import elsewhere
    from stages.merge import rebuild as rebuilding

    with told():
        keys = None
        if signature:
            keys = signing.trusted(key or [], lambda: requested(repository(), None)[0].policy, threshold)
        if lineage:
            if keys:
                signing.check(signing.of_folder(lineage.parent), *keys)
            results([elsewhere.verified(lineage, parents or [])], as_json)
        else:
            again(rebuilding.verify, candidates, every, as_json, keys)


@app.command()
def rebuild(  # noqa: PLR0917 -- Typer passes them by name
    candidates: Annotated[list[str] | None, typer.Argument(help="Candidate ids or prefixes.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every candidate of data/candidates.")] = False,
    lineage: Lineage = None,
    parents: ParentFolders = None,
    folder: Annotated[Path | None, typer.Option("--out", help="With --lineage: where to.")] = None,
    as_json: Json = False,
) -> None:
    """Put evicted weights back: rebuild candidates from their lineage; kept only if every byte matches.

    With --lineage FILE --parents FOLDER --out FOLDER no repository is needed.
    """
    from stages.merge import elsewhere
    from stages.merge import rebuild as rebuilding

    with told():
        if lineage is None:
            again(rebuilding.rebuild, candidates, every, as_json)
        elif folder is None:
            raise LabError("--lineage needs --out FOLDER, an empty folder or a new one.")
        else:
            results([elsewhere.rebuilt(lineage, parents or [], folder)], as_json)


@app.command()
def sign(
    candidate: str,
    key: Annotated[Path, typer.Option(help="The private key: PEM, Ed25519 or ECDSA.")],
    passphrase_file: Passphrase = None,
    as_json: Json = False,
) -> None:
    """Sign the lineage of a candidate (ID, prefix, or a folder that holds one) with a local private key."""
    from stages import signing

    with told():
        private = signing.private(key, passphrase_file, ask)
        done = signing.sign(signing.place(repository, candidate), private)
        print_json(done) if as_json else out.print("{id}  signed by {keyid}\n  {envelope}".format(**done))


@app.command()
def export(
    candidate: str,
    folder: Annotated[Path, typer.Option("--out", help="The result: an empty folder, or a new one.")],
    key: Annotated[Path | None, typer.Option(help="A private key that signs the verdicts too.")] = None,
    passphrase_file: Passphrase = None,
    as_json: Json = False,
) -> None:
    """Write a candidate into a folder for another pipeline, or say why it may not leave. Nothing is sent."""
    from stages import export as exporting
    from stages import signing

    with told():
        root = repository()
        private = signing.private(key, passphrase_file, ask) if key else None
        found = exporting.export(root, candidate, folder, requested(root, None)[0], private)
        print_json(found.to_json()) if as_json else out.print(found.text(), markup=False, soft_wrap=True)
        if found.status:
            raise typer.Exit(found.status)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    to: Annotated[int | None, typer.Option(min=0, help="Bytes to keep; else storage.quota_bytes.")] = None,
    as_json: Json = False,
) -> None:
    """Evict weights of candidates until the lab fits its quota, least recently used first; lineages stay."""
    from dataclasses import replace

    from stages.merge.workshop import quota

    with told():
        root = repository()
        bounded = quota(root, requested(root, None)[0])
        bounded = bounded if to is None else replace(bounded, bytes=to)
        going, missing = bounded.going()
        if not dry_run:
            bounded.evict(going)
        if as_json:
            found = {"evicted": [one.to_json() for one in going], "dry_run": dry_run, "missing": missing}
            print_json(found | {"used": bounded.used(), "quota": bounded.bytes})
            return
        for one in going:
            out.print(f"{one.id}  {one.bytes} bytes  {'would go' if dry_run else 'evicted'}")
        if missing:
            out.print(f"{missing} bytes above the quota stay: pinned weights, parents and records")
        out.print(f"{bounded.used()} bytes in use, quota {bounded.bytes}; `mergelab rebuild` undoes it")


@app.command()
def merge(  # noqa: PLR0917 -- Typer passes them by name
    recipe: Path,
    folder: Annotated[Path, typer.Option("--out", help="The result: an empty folder, or a new one.")],
    base_dir: Annotated[Path, typer.Option(help="What relative folders in the recipe start from.")] = Path(),
    models: Models = None,
    unreviewed: Annotated[bool, typer.Option("--unreviewed", help="Allow parents without a card.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, from headers alone.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Take every digest and statistic again.")] = False,
    memory_mib: Annotated[
        int, typer.Option(min=64, help="Memory of the merge beside its interpreter.")
    ] = 512,
    as_json: Json = False,
) -> None:
    """Merge once, outside the pipeline, as RECIPE says (ours or mergekit's YAML); never a candidate."""
    from stages.merge.by_hand import run as by_hand

    with told():
        found = by_hand(
            recipe,
            folder,
            base_dir,
            models or [],
            unreviewed=unreviewed,
            dry_run=dry_run,
            fresh=fresh,
            memory_bytes=memory_mib << 20,
        )
        print_json(found.to_json()) if as_json else out.print(found.text(), markup=False, soft_wrap=True)


@app.command("import")
def import_recipe(recipe: Path, identifier: Id = None, models: Models = None) -> None:
    """Turn RECIPE (ours or mergekit's YAML) into conf/parents/ID.yaml and conf/experiment/ID.yaml."""
    from stages.merge.experiment_file import run as write

    with told():
        written = write(repository(), recipe, identifier, models or [], check=requested)
        out.print(written.text(), markup=False, soft_wrap=True)


def again(action: Any, wanted: list[str] | None, every: bool, as_json: bool, keys: Any = None) -> None:
    """Run `verify` or `rebuild` on the wanted candidates and exit 3 if one differs.

    keys: the public keys that count and how many must have signed; None asks for no signature.
    """
    from stages import signing
    from stages.merge import rebuild as rebuilding
    from stages.merge.workshop import CANDIDATES, workshop

    root = repository()
    folder = root / CANDIDATES
    names = (
        rebuilding.identifiers(folder) if every else [rebuilding.find(folder, name) for name in wanted or []]
    )
    if not names:
        raise LabError("name a candidate, or use --all. `mergelab report` lists them.")
    for name in names if keys else ():  # all of them, before anything is merged again
        signing.check(signing.of_candidate(root, name), *keys)
    shop = workshop(root, requested(root, None)[0])
    results((action(folder, name, shop) for name in names), as_json)


def results(verifications: Iterable[Any], as_json: bool) -> None:
    """Print each verification as it comes and exit 3 if one differs."""
    told_as = []
    for found in verifications:
        why = {"because": found.because} if found.because else {}
        told_as.append({"id": found.id, "match": not found.differing, "differing": [*found.differing], **why})
        if not as_json:
            out.print(
                f"{found.id}  " + ("DIFFERS: " + ", ".join(found.differing) if found.differing else "MATCH")
            )
            if found.because:
                out.print(f"  {found.because}")
    if as_json:
        print_json(told_as)
    if not all(result["match"] for result in told_as):
        raise typer.Exit(MISMATCH)


def ask() -> str:
    """The passphrase of a key, typed. Raises LabError where nobody can type."""
    if not sys.stdin.isatty():
        raise LabError("the key is encrypted and there is no terminal. Name its --passphrase-file.")
    return str(typer.prompt("passphrase", hide_input=True, err=True))


def sweep(root: Path, overrides: list[str]) -> None:
    """One DVC experiment per job of the sweep."""
    from rich.table import Table

    from stages import sweep as sweeping
    from stages.core.records.files import sha256_bytes

    jobs = sweeping.jobs(root, overrides)
    running.prepare(root)
    table = Table(
        "experiment", "overrides", title=f"{len(jobs)} experiments; compare them with `dvc exp show`"
    )
    for number, job in enumerate(jobs, 1):
        name = sweeping.name_of(job, sha256_bytes(requested(root, job)[1].encode()))
        err.print(f"job {number}/{len(jobs)}: {' '.join(job)}")
        sweeping.run_job(root, job, name)
        table.add_row(name, " ".join(job))
    out.print(table)


def show_report(root: Path) -> None:
    """The outcome table and the path of the report."""
    from stages.pareto.terminal import outcome_table

    out.print(outcome_table(root / "reports", out.width))
    out.print(f"report: {root / 'reports' / 'report.html'}")


def main() -> None:
    """Entry point of the `mergelab` script."""
    set_threshold(GARBAGE)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for some opens every package
    app()


if __name__ == "__main__":
    main()
