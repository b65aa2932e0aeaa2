"""What the command line prints: plans and stories as JSON and as text."""

from pathlib import Path
from typing import Any

from rich.table import Table

from stages.core.records import lineage as lineages
from stages.core.records import terms
from stages.core.records.canonical import Json, read_json
from stages.core.records.recipe import plain, readable
from stages.core.records.terms import INTENTS
from stages.merge import rebuild
from stages.merge.survey import Survey
from stages.merge.workshop import CANDIDATES


def survey_json(found: Survey) -> Json:
    """The plan as one JSON document; sizes in bytes, time in seconds."""
    return {
        "candidates": [
            {
                "id": recipe.id,
                "label": proposal.label,
                "plan_sha256": plan.digest,
                "parameters": _numbers(recipe),
            }
            for recipe, proposal, plan in found.proposals
        ],
        "bytes_read": found.bytes_read,
        "bytes_written": found.bytes_written,
        "peak_bytes": found.peak_bytes,
        "seconds": round(found.seconds, 1),
        "workers": found.workers,
    }


def survey_table(found: Survey) -> Table:
    """The plan as a table, one row per candidate, the totals below."""
    table = Table(title=f"{len(found.proposals)} candidates planned from headers alone")
    for heading in ("candidate", "origin", "parameters"):
        table.add_column(heading)
    for recipe, proposal, _ in found.proposals:
        table.add_row(recipe.id, proposal.label, _words(_numbers(recipe)))
    table.caption = (
        f"reads {size(found.bytes_read)}, writes {size(found.bytes_written)}, about {found.seconds:.0f} s "
        f"and {size(found.peak_bytes)} of memory with {found.workers} workers"
    )
    return table


def story(root: Path, prefix: str) -> dict[str, Json]:
    """Everything recorded about one candidate, by the room that recorded it. Raises LabError if unknown."""
    identifier = rebuild.find(root / CANDIDATES, prefix)
    recorded = lineages.load(root / CANDIDATES / identifier / lineages.NAME)
    definition = recorded.statement["predicate"]["buildDefinition"]
    gates = _if_there(root / "data/gates.json").get("candidates", {}).get(identifier)
    outcomes = _if_there(root / "reports/front.json") or []
    return {
        "id": identifier,
        "method": f"{recorded.recipe.method} v{recorded.recipe.method_version}",
        "parameters": _numbers(recorded.recipe),
        "seed": recorded.recipe.seed,
        "proposal": vars(recorded.proposal),
        "materials": [
            {
                "id": material["name"],
                "role": material["annotations"]["role"],
                "sha256": material["digest"]["sha256"],
            }
            for material in definition["resolvedDependencies"]
        ],
        "terms": _terms(recorded.statement),
        "isolation": definition["internalParameters"]["isolation"],
        "files": dict(recorded.files),
        "gates": gates,
        "outcome": next((row for row in outcomes if row["id"] == identifier), None),
    }


def story_text(found: dict[str, Json]) -> str:
    """The same for people: what it is, what it is made of, how it fared."""
    lines = [
        f"{found['id']}  {found['method']}  ({found['proposal']['label']})",
        f"  parameters  {_words(found['parameters'])}",
        f"  isolation   {found['isolation']['level']}",
    ]
    lines += [f"  {m['role']:<11} {m['id']}  sha256 {m['sha256'][:16]}…" for m in found["materials"]]
    lines += [f"  {'file':<11} {name}  sha256 {sha256[:16]}…" for name, sha256 in found["files"].items()]
    if found["terms"]:
        allowed = [intent for intent in INTENTS if found["terms"]["decisions"][intent]["allowed"]]
        lines.append(f"  allowed for {', '.join(allowed) or 'nothing'}  (reasons: README.md beside it)")
    if found["gates"]:
        failed = [finding for finding in found["gates"]["findings"] if not finding["passed"]]
        lines.append(f"  gates       {'all passed' if not failed else ''}")
        lines += [f"    {finding['rule']}: {finding['message']}" for finding in failed]
    if found["outcome"]:
        lines.append(f"  outcome     {found['outcome']['outcome']}: {found['outcome']['reason']}")
    return "\n".join(lines)


def _terms(statement: Json) -> Json:
    """What eligibility decided, if the lineage holds it."""
    byproducts = statement["predicate"]["runDetails"]["byproducts"]
    return next((one["annotations"] for one in byproducts if one["name"] == terms.KEY), None)


def size(count: float) -> str:
    """Bytes in a unit a person reads: '3.2 MB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _numbers(recipe: Any) -> dict[str, Json]:
    return {name: plain(value) for name, value in recipe.parameters.items()}


def _words(parameters: dict[str, Json]) -> str:
    return ", ".join(f"{name} {readable(value)}" for name, value in parameters.items())


def _if_there(path: Path) -> Any:
    return read_json(path) if path.is_file() else {}
