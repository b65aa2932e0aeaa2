"""The panels of the report, in the order of the page: a plain list, one file and one template each."""

from stages.pareto.report.panel import Panel
from stages.pareto.report.panels import (
    candidates,
    eligibility,
    front,
    gates,
    hidden,
    lineage,
    reasons,
    retention,
    verify,
)

PANELS: tuple[Panel, ...] = (
    front.PANEL,
    candidates.PANEL,
    reasons.PANEL,
    retention.PANEL,
    hidden.PANEL,
    gates.PANEL,
    eligibility.PANEL,
    lineage.PANEL,
    verify.PANEL,
)
