"""The templates, and how numbers and texts get into them."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.core.records.recipe import readable
from stages.pareto import wording

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """One template filled in. Markup is escaped in HTML and SVG; Markdown escapes with the filter `cell`."""
    return _environment().get_template(template).render(**values)


def asset(name: str) -> str:
    """The text of a style sheet or script beside the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),  # noqa: S701  Markdown: `cell`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (
        wording.share,
        wording.percent,
        wording.percent_range,
        wording.points,
        wording.ordinal,
        wording.budget,
        wording.passes,
        wording.p_value,
    ):
        environment.filters[function.__name__] = function
    environment.filters["cell"] = cell
    environment.filters["short"] = short
    environment.filters["parameters"] = parameters
    return environment


def cell(text: object) -> str:
    """Text that can stand in a Markdown table: no markup, no column break, one line."""
    escaped = re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", str(text))
    return " ".join(escaped.split())


def short(digest: str) -> str:
    """The first 12 characters of a digest."""
    return digest[:12]


def parameters(values: dict[str, Any]) -> str:
    """'density 0.2, lambda 1': numbers with at most 4 significant digits."""
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(rule, dict) for rule in value):
        return readable(value)
    if isinstance(value, list | tuple):
        return " : ".join(_value(one) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:.4g}".replace("-", "−")
