"""Numbers as people read them; one place, so that page, picture, Markdown and terminal agree."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the terminal reads numbers back as text and must start without scipy
    from stages.core.records.policy import EnsemblePolicy
    from stages.pareto.measure import Number

NARROW = "\u00a0"  # a space at which no line is broken


def share(value: float) -> str:
    """An accuracy or probability with two decimals: 0.31. Never a minus zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def percent(value: float) -> str:
    """A fraction as whole per cent: 83 %, −12 %; never broken between the lines."""
    return f"{round(100 * value) + 0:d}{NARROW}%".replace("-", "−")


def percent_range(low: float, high: float) -> str:
    """An interval in whole per cent: 71 to 92 %."""
    return f"{percent(low)[:-2]} to {percent(high)}"


def with_interval(number: "Number") -> str:
    """'83 % (71 to 92 %)'."""
    return f"{percent(number.value)} ({percent_range(number.low, number.high)})"


def points(value: float) -> str:
    """A difference in percentage points, signed: +3, −12, 0."""
    rounded = round(100 * value)
    return f"{rounded:+d}".replace("-", "−") if rounded else "0"


def ordinal(place: int) -> str:
    """1st, 2nd, 3rd, 4th … (11th, 12th, 13th)."""
    if place % 100 in (11, 12, 13):
        return f"{place}th"
    return f"{place}" + {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")


def passes(count: float) -> str:
    """'1 pass', '2 passes', '1.43 passes'."""
    return f"{count:.3g} pass" + ("" if count == 1 else "es")


def cost(count: float, models: int) -> str:
    """What an answer takes: '1 pass', '2 passes with 2 models in memory'."""
    return passes(count) + (f" with {models} models in memory" if models > 1 else "")


def budget(policy: "EnsemblePolicy") -> str:
    """What may be served: '1 pass and 1 model in memory', '2 passes and 3 models in memory'."""
    many = policy.model_budget
    return f"{passes(policy.pass_budget)} and {many} model{'' if many == 1 else 's'} in memory"


def p_value(p: float) -> str:
    """'0.031', '1', '2e-05', '< 1e-06': two digits that count; smaller ones say no more than that."""
    return "< 1e-06" if p < 1e-6 else f"{float(f'{p:.2g}'):g}"
