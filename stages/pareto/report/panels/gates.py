"""The cheap validity checks: which artifacts were never shown a hidden case, and why."""

from stages.pareto.report.panel import Absent, Panel, Shown, View


def build(view: View) -> Shown | Absent:
    """The failed artifacts with all their findings."""
    study = view.study
    if not view.found.outcomes:
        return Absent(None)
    failed = [one for one in study.made if not study.gates[one.id]["passed"]]
    return Shown(
        {
            "passed": len(study.made) - len(failed),
            "of": len(study.made),
            "failed": [(one, study.gates[one.id]["findings"]) for one in failed],
        }
    )


PANEL = Panel("gates", "Gates", "Gates", "How it was found", build)
