"""Quality against size: perplexity over the share of weights removed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from textual.color import Color
from textual_plotext import PlotextPlot

from runs.fold.words import number
from runs.report.front import front

MARKERS = {"other": "o", "reference": "x", "result": "@"}
"""Told apart by their shape, so that no colour is needed."""
_COLORS = {"other": "foreground", "reference": "foreground", "result": "primary"}
_TICKS = 4


class Point(NamedTuple):
    """A model that was measured on the held-out text."""

    label: str
    sparsity: float
    perplexity: float
    kind: Literal["other", "reference", "result"] = "other"


class ParetoPlot(PlotextPlot):
    """The points with their front as a line; perplexity on a log scale."""

    def draw(self, points: Sequence[Point]) -> None:
        """Draw these instead of what was drawn before; none of them may be without a finite perplexity above 0."""
        self.plt.clear_figure()
        self.plt.xlabel("weights removed")
        best = front(points)
        if len(best) > 1:
            self._line(best)
        for kind in MARKERS:
            self._scatter([point for point in points if point.kind == kind], kind)
        self._ticks(points)
        self.refresh()

    def _line(self, best: Sequence[Point]) -> None:
        x, y = [p.sparsity for p in best], [math.log(p.perplexity) for p in best]
        self.plt.plot(x, y, marker="braille", color=self._color("accent"))

    def _scatter(self, points: Sequence[Point], kind: str) -> None:
        if points:
            x, y = [p.sparsity for p in points], [math.log(p.perplexity) for p in points]
            self.plt.scatter(x, y, marker=MARKERS[kind], color=self._color(_COLORS[kind]))

    def _ticks(self, points: Sequence[Point]) -> None:
        levels = _spread([math.log(point.perplexity) for point in points])
        shares = _spread([point.sparsity for point in points])
        self.plt.yticks(levels, [number(math.exp(level)) for level in levels])
        self.plt.xticks(shares, [f"{100 * share:.1f} %" for share in shares])

    def _color(self, name: str) -> tuple[int, int, int]:
        return Color.parse(self.app.theme_variables[name]).rgb


def _spread(values: Sequence[float]) -> list[float]:
    """A few values from the lowest to the highest."""
    low, high = min(values), max(values)
    if high - low < 1e-6:
        return [low]
    return [low + (high - low) * step / (_TICKS - 1) for step in range(_TICKS)]
