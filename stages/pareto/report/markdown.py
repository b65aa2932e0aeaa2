"""report.md: what a reviewer reads in a pull request."""

import re

from stages.pareto.report.graph import Graph, graph_of
from stages.pareto.report.lineage import descent, shown_merge
from stages.pareto.report.pages import render
from stages.pareto.report.panels.reasons import grouped
from stages.pareto.report.panels.retention import check_line
from stages.pareto.results import Results


def markdown(found: Results) -> str:
    """The Markdown text: answer, picture, table, reasons, lineage as a Mermaid graph, how to verify."""
    best = found.best
    row = shown_merge(found)
    line = descent(found.trial.study, row.id) if row else None
    graph = mermaid(graph_of(found, line)) if line else ""
    checks = [check_line(one) for one in best.checks] if best else []
    text = render(
        "report.md.j2", found=found, best=best, graph=graph, line=line, groups=grouped(found), checks=checks
    )
    return re.sub(r"\n{3,}", "\n\n", text)


SHAPES = {"origin": ("[", "]"), "recipe": ("{{", "}}"), "artifact": ("([", "])"), "verdict": ("[", "]")}


def mermaid(graph: Graph) -> str:
    """A left-to-right flowchart, each node at its first edge."""
    nodes, written = {node.name: node for node in graph.nodes}, set[str]()

    def named(name: str) -> str:
        node = nodes[name]
        before, after = SHAPES[node.kind]
        text = "" if name in written else f"{before}{_text(node.title, node.detail)}{after}"
        written.add(name)
        return f"{name}{text}"

    return "\n".join(["flowchart LR", *(f"  {named(start)} --> {named(end)}" for start, end in graph.edges)])


def _text(first: str, second: str) -> str:
    """A quoted node text of two lines; characters that Mermaid or HTML would read become entities."""
    both = [
        "".join(
            letter if letter.isalnum() or letter in " .,:_-+=%/" else f"#{ord(letter)};" for letter in part
        )
        for part in (first, second)
    ]
    return f'"{both[0]}<br/>{both[1]}"'
