"""Whether these parents may be merged at all: every rule with its finding."""

from stages.pareto.report.panel import Panel, Shown, View


def build(view: View) -> Shown:
    """The verdict as eligibility wrote it."""
    return Shown({"verdict": view.study.eligibility})


PANEL = Panel("eligibility", "Eligibility", "Eligibility", "How it was found", build)
