"""`python -m stages.pareto`: eligibility, candidates, gates, cases and evidence → reports/.

A refusal is a result: the stage then reports it and ends with 0.
"""

import sys
from pathlib import Path

from stages.conf import load_request
from stages.core.entry import enter
from stages.core.records.canonical import write_json
from stages.core.records.files import write_text
from stages.core.records.policy import Policy
from stages.pareto.report.layout import layout
from stages.pareto.report.markdown import markdown
from stages.pareto.report.page import page
from stages.pareto.report.picture import picture
from stages.pareto.results import Results, metrics, plot_records, results
from stages.pareto.study import Experiment, load
from stages.pareto.trial import trial


def run(experiment: Experiment, policy: Policy, data: Path, reports: Path) -> Results:
    """Judge what lies under `data` by `policy`, write the five files of `reports`, and return the results."""
    found = results(trial(load(data, experiment), policy))
    placed = layout(found)
    svg = picture(found, placed)
    write_text(reports / "front.svg", svg)
    write_text(reports / "report.html", page(found, placed, svg))
    write_text(reports / "report.md", markdown(found))
    write_json(reports / "front.json", plot_records(found))
    write_json(reports / "metrics.json", metrics(found))
    return found


def work() -> None:
    """Run the stage in the current directory, and say the answer."""
    root = Path.cwd()
    request = load_request(root / "params.yaml")
    experiment = Experiment(
        request.experiment.id,
        request.experiment.title,
        request.experiment.question,
        request.parents.base,
        request.parents.merge,
    )
    found = run(experiment, request.policy, root / "data", root / "reports")
    sys.stderr.write(f"{found.answer.sentence}\nreport: reports/report.html\n")


if __name__ == "__main__":
    sys.exit(enter("pareto", work))
