"""From mergekit's settings to our parameters: plain values where nothing differs, else rules by tensor.

A rule's patterns are the filters, `*filter*`; its layers are the gradient's points where one slice holds all
layers and the formula is linear in them, else one point for each layer; its outside is what mergekit gives
tensors before and after the layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from typing import Any

from stages.core.records.canonical import Json
from stages.core.weights.depth import NUMBER
from stages.merge.mergekit.rows import Answer, Rule
from stages.merge.mergekit.settings import Setting, Unreadable

BEFORE = ("embed_tokens", "embed_in", "embedding", "wte", "wpe")  # in names of tensors before the layers
Names = Callable[[], Sequence[str] | None]


@dataclass(frozen=True)
class Part:
    """Consecutive layers, the first part's first. layers: how many; None where nobody can tell.

    values: mergekit's name → one setting for each parent, or one for all (`shared`).
    """

    layers: int | None
    values: Mapping[str, tuple[Setting, ...]]


@dataclass(frozen=True)
class Spread:
    """Settings under translation. shared: the names that have one setting for all parents.

    names: the tensors of the models; None where they cannot be read.
    """

    parts: Sequence[Part]
    shared: Sequence[str]
    names: Names

    def apply(self, rule: Rule) -> Mapping[str, Json] | str:
        """Our parameters by this rule, or the reason why there are none. Raises Unreadable."""
        settings = [each for part in self.parts for name in rule.reads for each in part.values[name]]
        if rule.whole:
            return rule.give(*(self._everything(name) for name in rule.reads))
        columns: dict[str | None, _Column] = {}
        for wanted in self._filters(settings):
            found = self._column(rule, wanted, settings)
            if isinstance(found, str):
                return found
            columns[wanted] = found
        keys = list(dict.fromkeys(key for column in columns.values() for key in column.before))
        told = {key: self._told(key, columns, settings) for key in keys}
        return next((why for why in told.values() if isinstance(why, _Refused)), None) or told

    def _everything(self, name: str) -> float | tuple[float, ...]:
        """Every number of a parameter anywhere; a shared one is one number, since it is a flag."""
        found = [
            point
            for part in self.parts
            for setting in part.values[name]
            for case in setting.cases
            for point in case.points
        ]
        return found[0] if name in self.shared else tuple(found)

    def _filters(self, settings: Sequence[Setting]) -> list[str | None]:
        """The filters of all settings in one order in which the first that fits decides for every setting."""
        orders = list(dict.fromkeys(setting.filters for setting in settings if setting.filters))
        if len(orders) <= 1:
            return [*(orders[0] if orders else ()), None]
        union = list(dict.fromkeys(wanted for order in orders for wanted in order))
        joined = sorted(union, key=lambda each: -sum(other in each for other in union))
        names = self.names()
        odd = next(setting for setting in settings if setting.filters == orders[1])
        if names is None:
            why = "its filters are not those of the parameter before it, and no tensor names can be read to "
            raise Unreadable(odd.where, f"{why}compare them. Give both the same filters in one order")
        for name in names:
            first = next((wanted for wanted in joined if wanted in name), "")
            for setting in settings:
                if setting.pick(name) is not setting.pick(first):
                    raise Unreadable(
                        setting.where,
                        f"several filters fit {name!r}, and not the same one decides for every model. Give "
                        "all models the same filters in one order",
                    )
        return [*joined, None]

    def _column(self, rule: Rule, wanted: str | None, settings: Sequence[Setting]) -> "_Column | str":
        """What the rule gives for tensors of one filter, over layers and outside them."""

        def give(part: Part, t: float) -> Answer:
            arguments: list[Any] = []
            for name in rule.reads:
                numbers = tuple(setting.pick(wanted or "").at(t) for setting in part.values[name])
                arguments.append(numbers[0] if name in self.shared else numbers)
            return rule.give(*arguments)

        picked = [setting.pick(wanted or "") for setting in settings]
        counts = {len(case.points) for case in picked if len(case.points) > 1}
        before, after = give(self.parts[0], 0.0), give(self.parts[-1], 0.0)
        points: list[Answer] = []
        for part in self.parts:
            if len(self.parts) == 1 and not counts:
                points = [before]
            elif part.layers is None:
                raise Unreadable(_graded(settings).where, "cannot tell over how many layers it runs")
            elif len(self.parts) == 1 and rule.linear and len(counts) == 1 and part.layers > 1:
                (count,) = counts
                points = [give(part, place / (count - 1)) for place in range(count)]
            else:
                last = part.layers - 1
                points += [give(part, layer / last if last else 1.0) for layer in range(part.layers)]
        why = next((answer for answer in [before, *points, after] if isinstance(answer, str)), None)
        if why is not None or isinstance(before, str) or isinstance(after, str):
            return why or ""
        return _Column(before, [answer for answer in points if not isinstance(answer, str)], after)

    def _told(
        self, key: str, columns: "Mapping[str | None, _Column]", settings: Sequence[Setting]
    ) -> "Json | _Refused":
        """The value of one of our parameters as a recipe writes it."""
        values = [answer[key] for column in columns.values() for answer in column.answers]
        if all(value == values[0] for value in values):
            return _plain(values[0])
        if any(isinstance(value, bool | str) for value in values):
            return _Refused(f"{key} would differ between tensors, which no choice does here")
        rules: list[Json] = []
        for wanted, column in columns.items():
            before, after = _plain(column.before[key]), _plain(column.after[key])
            points = [_plain(answer[key]) for answer in column.points]
            if before != after:
                rules += [
                    {"match": escape(name), "value": before}
                    for name in self._before(wanted, list(columns), settings)
                ]
            match = "*" if wanted is None else f"*{escape(wanted)}*"
            if all(point == after for point in points):
                rules.append({"match": match, "value": after})
            else:
                layers = points if len(points) > 1 else points * 2
                rules.append({"match": match, "layers": layers, "outside": after})
        return rules

    def _before(
        self, wanted: str | None, filters: Sequence[str | None], settings: Sequence[Setting]
    ) -> list[str]:
        """The tensors before the layers that fall to a filter: they follow the first slice."""
        names = self.names()
        if names is None:
            raise Unreadable(
                _graded(settings).where,
                "tensors before the layers follow the first slice and those after them the last, and no "
                "tensor names can be read to tell them apart. Give both slices one value there",
            )
        return [
            name
            for name in names
            if NUMBER.search(name) is None
            and any(part in name for part in BEFORE)
            and next(each for each in filters if each is None or each in name) == wanted
        ]


class _Refused(str):
    """A reason in place of a value."""


@dataclass(frozen=True)
class _Column:
    """Answers for tensors of one filter: before the layers, at points over them, after them."""

    before: Mapping[str, Any]
    points: Sequence[Mapping[str, Any]]
    after: Mapping[str, Any]

    @property
    def answers(self) -> list[Mapping[str, Any]]:
        return [self.before, *self.points, self.after]


def _graded(settings: Sequence[Setting]) -> Setting:
    """The setting to blame for what depends on layers."""
    graded = [each for each in settings if any(len(case.points) > 1 for case in each.cases)]
    return (graded or list(settings))[0]


def _plain(value: Any) -> Json:
    return list(value) if isinstance(value, tuple) else value
