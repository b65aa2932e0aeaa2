"""report.md: what a reviewer reads in a pull request."""

import re

from stages.pareto.report.lineage import Descent, descent
from stages.pareto.report.pages import parameters, render, short
from stages.pareto.results import Results
from stages.pareto.wording import NARROW


def markdown(found: Results) -> str:
    """The Markdown text: answer, picture, table, reasons, lineage as a Mermaid graph, how to verify."""
    best = found.best
    line = descent(found.trial.study, best.id) if best else None
    graph = mermaid(found, line) if line else ""
    text = render("report.md.j2", found=found, best=best, graph=graph, line=line)
    return re.sub(r"\n{3,}", "\n\n", text)


def mermaid(found: Results, line: Descent) -> str:
    """A left-to-right graph: base and parents, the recipe, the artifact, its verdicts."""
    lines = ["flowchart LR"]
    row = found.row(line.candidate.id)
    for place, origin in enumerate(line.origins):
        lines.append(f"  o{place}[{_text(f'{origin.role} {origin.id}', short(origin.digest))}] --> recipe")
    detail = parameters(dict(line.candidate.parameters)) or "no parameters"
    lines += [
        f"  recipe{{{{{_text(f'{line.method} v{line.version}', detail)}}}}} --> artifact",
        f"  artifact([{_text(line.candidate.id, short(line.candidate.artifact))}]) --> gate",
        f"  gate[{_text('gate', 'passed')}] --> outcome",
        f"  outcome[{_text(row.status, row.reason.partition(';')[0].replace(NARROW, ' '))}]",
    ]
    return "\n".join(lines)


def _text(first: str, second: str) -> str:
    """A quoted node text of two lines; characters that Mermaid or HTML would read become entities."""
    both = [
        "".join(
            letter if letter.isalnum() or letter in " .,:_-+=%/" else f"#{ord(letter)};" for letter in part
        )
        for part in (first, second)
    ]
    return f'"{both[0]}<br/>{both[1]}"'
