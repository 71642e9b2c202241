"""The blocks of a model as lines: sparsity of each beside one of its statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.content import Content

from runs.events import SurveyDone
from runs.fold.words import number
from tui.app.widgets.bars import bar

STATISTICS = ("skew", "kurtosis", "outliers", "redundancy")
_PERCENT = 8


def statistics(survey: SurveyDone) -> list[str]:
    """The statistics that have a value for every block."""
    return [name for name in STATISTICS if len(survey.units.get(name, ())) == survey.blocks]


class Table:
    """Where the numbers and the bars of the blocks stand, in `width` columns."""

    def __init__(
        self, blocks: int, rates: Sequence[float], statistic: str, values: Sequence[float], width: int
    ) -> None:
        self.rates, self.statistic, self.values = rates, statistic, values
        finite = [value for value in values if math.isfinite(value)]
        self.low, self.high = min(finite, default=0.0), max(finite, default=0.0)
        self.index = len(str(max(0, blocks - 1))) + 1
        self.figure = max((len(number(value)) for value in values), default=0)
        free = width - self.index - self.figure - 2
        self.bar = max(0, (free - _PERCENT - 2) // 2) if rates else 0
        self.heat = max(0, free - (self.bar + _PERCENT + 2 if rates else 0))

    @property
    def heading(self) -> str:
        """Names of the columns, and what the bars of the statistic span where there is room to say it."""
        left = f"{'#':>{self.index}} " + (f"{'sparsity':<{self.bar + _PERCENT}}  " if self.rates else "")
        span = f"{self.statistic} {number(self.low)} to {number(self.high)}" if self.values else ""
        return left + (span if len(span) <= self.figure + 1 + self.heat else self.statistic)

    def row(self, block: int) -> Content:
        """One line: block, bar and per cent of its sparsity, its statistic and how that compares over the blocks."""
        parts: list[str | tuple[str, str]] = [f"{block:>{self.index}} "]
        if block < len(self.rates):
            rate = self.rates[block]
            parts += [(bar(rate, self.bar), "$primary"), f"{100 * rate:>{_PERCENT - 2}.1f} %  "]
        if block < len(self.values):
            value, span = self.values[block], self.high - self.low
            heat = bar((value - self.low) / span if span else 0.5, self.heat)
            parts += [f"{number(value):>{self.figure}} ", (heat, "$accent")]
        return Content.assemble(*parts)
