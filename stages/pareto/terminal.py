"""The outcome table for the terminal, read back from reports/ alone."""

from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stages.core.records.canonical import Json, read_json
from stages.pareto.wording import percent, share

STYLES = {
    "candidate": "bold green",
    "archived": "dim",
    "rejected": "red",
    "the ensemble wins": "magenta",
    "distil instead": "yellow",
}
ACCURACY = "accuracy "
PREFIX = 7  # hex characters of an id: enough to name a candidate to any command
REASON_WIDTH = 130  # columns of a terminal from which reasons fit beside the numbers


def outcome_table(reports: Path, width: int) -> Table:
    """Every candidate with its outcome, the baselines above; the answer is the title.

    width: columns of the terminal; a narrow one gets no reasons, which `mergelab explain` tells.
    Raises LabError if reports/front.json or metrics.json is missing: run `dvc repro` first.
    """
    records, metrics = read_json(reports / "front.json"), read_json(reports / "metrics.json")
    niches = sorted(
        {key[len(ACCURACY) :] for record in records for key in record if key.startswith(ACCURACY)}
    )
    table = Table(
        title=escape(metrics["answer"]["sentence"]),
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("outcome", no_wrap=True)
    table.add_column("id", no_wrap=True, style="dim")
    table.add_column("subject", overflow="fold")
    table.add_column("recovers", justify="right", no_wrap=True)
    for niche in niches:
        table.add_column(escape(niche), justify="right", no_wrap=True)
    table.add_column("front", justify="right", no_wrap=True)
    wide = width >= REASON_WIDTH
    if wide:
        table.add_column("reason", overflow="fold", ratio=1)
    else:
        table.caption = "Reasons: `mergelab explain ID`, or the report."
        table.caption_justify = "left"
    for before, record in zip([None, *records], records, strict=False):
        if before is not None and (before["kind"] == "candidate") != (record["kind"] == "candidate"):
            table.add_section()
        cells = _cells(record, niches)
        table.add_row(*(cells if wide else cells[:-1]))
    return table


def _cells(record: Json, niches: list[str]) -> list[Text]:
    outcome = record["outcome"]
    return [
        Text(outcome, style=STYLES.get(outcome, "cyan")),
        Text(record["id"][:PREFIX] if record["kind"] == "candidate" else ""),
        Text(record["label"]),
        Text(percent(record["headline"]) if record["headline"] is not None else "—"),
        *(Text(_share(record[ACCURACY + niche])) for niche in niches),
        Text(percent(record["non_dominated"]) if record["non_dominated"] is not None else "—"),
        Text(record["reason"], style="dim" if outcome == "archived" else ""),
    ]


def _share(value: float | None) -> str:
    return "—" if value is None else share(value)
