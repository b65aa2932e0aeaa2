"""How to check the report: the commands, and every number that the verdicts rest on."""

from stages.pareto.report.panel import Panel, Shown, View


def build(view: View) -> Shown:
    """The recommended subject, the policy and the suite."""
    best = view.found.best
    return Shown(
        {"best": best, "policy": view.policy, "suite": view.study.suite, "frozen": view.study.frozen}
    )


PANEL = Panel("verify", "Check it yourself", "Verify", "How it was found", build)
