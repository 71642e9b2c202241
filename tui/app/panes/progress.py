"""How far a run is, what it has spent, and how good it is for its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Sparkline, Static

from agent.llm.prices import own, price_of
from runs.budget import Budget, Spent
from runs.designers import designers_of
from runs.fold.stages import Step
from runs.fold.tally import eta
from runs.fold.words import course, number, short_time
from runs.report.front import front
from tools.io.errors import SecateurError
from tui.app.panes.pane import Pane
from tui.app.view import RunView
from tui.app.widgets.bars import bar
from tui.app.widgets.flow import flow
from tui.app.widgets.pareto import MARKERS, ParetoPlot, Point

DOES = {
    "model": "opens the model and counts its weights",
    "statistics": "reads text to see which weights matter",
    "times": "times blocks of several widths on this machine",
    "losses": "measures how much every block is missed",
    "memory": "looks for what past runs found on similar models",
    "search": "invents recipes and measures them",
    "finalists": "makes the best recipes in their final form",
    "test": "reads the held-out text, once",
    "save": "writes the model and checks it",
}
"""What a stage is for."""
_PLOT_ROWS, _SPARK_ROWS = 22, 13
"""Rows of the pane from which the plot and the sparkline are shown."""
_LIMIT_BAR = 10
_NARROW = 38


class ProgressPane(Pane, can_focus=True):
    """Stage, budget, best divergence, quality against size; what does not fit is left out from below."""

    NAME = "Progress"
    DEFAULT_CSS = """
    ProgressPane { padding: 0 1; }
    ProgressPane Static { height: auto; margin-bottom: 1; }
    ProgressPane #spent { text-wrap: nowrap; }
    ProgressPane #best { margin-bottom: 0; }
    ProgressPane Sparkline { height: 2; margin-bottom: 1; }
    ProgressPane Sparkline > .sparkline--min-color { color: $primary; }
    ProgressPane Sparkline > .sparkline--max-color { color: $primary; }
    ProgressPane ParetoPlot { height: 1fr; min-height: 8; }
    ProgressPane #legend { color: $text-muted; margin-bottom: 0; }
    """

    def __init__(self, home: Path | None = None) -> None:
        """`home`: where prices of one's own are."""
        super().__init__()
        self._home = home
        self._view: RunView | None = None
        self._others: tuple[Point, ...] = ()
        self._plotted: object = None

    def compose(self) -> ComposeResult:
        """In the order of importance: the last are left out first."""
        yield Static(id="stage", markup=False)
        yield Static(id="spent", markup=False)
        yield Static(id="best", markup=False)
        yield Sparkline(summary_function=min)
        yield ParetoPlot()
        yield Static(id="legend", markup=False)

    def show(self, view: RunView) -> None:
        """Draw the run as it is now; the plot only where its points changed."""
        self._view = view
        self._draw()

    def compare_with(self, points: Sequence[tuple[str, float, float]]) -> None:
        """Plot these beside the run: label, share of weights removed, perplexity on the held-out text."""
        self._others = tuple(Point(*point) for point in points)
        self._draw()

    def on_resize(self) -> None:
        """What fits depends on the height, lines on the width."""
        self._draw()

    def _draw(self) -> None:
        if self._view is None or not self.is_mounted:
            return
        self.query_one("#stage", Static).update(_stage(self._view, self.size.width))
        uncounted = _uncounted(self._view, self._home)
        spent = budget(self._view.spent, self._view.budget, self.size.width, uncounted=uncounted)
        self.query_one("#spent", Static).update(spent)
        self._draw_best([value for value in self._view.history.curve if math.isfinite(value)])
        self._draw_plot(_points(self._view, self._others))

    def _draw_best(self, best: Sequence[float]) -> None:
        line, shown = self.query_one(Sparkline), bool(best) and self.size.height >= _SPARK_ROWS
        line.display = shown
        if shown:
            line.data = best
        count = f"{len(best)} measurement{'' if len(best) == 1 else 's'} of as many tokens"
        text = f"{course(best)} over {count}" if best else ""
        self.query_one("#best", Static).update(text)
        self.query_one("#best").display = bool(best)

    def _draw_plot(self, points: Sequence[Point]) -> None:
        plot, legend = self.query_one(ParetoPlot), self.query_one("#legend", Static)
        plot.display = bool(points) and self.size.height >= _PLOT_ROWS
        legend.display = self.size.height >= _SPARK_ROWS
        key = (tuple(points), self.app.theme, self.size.width)
        if key == self._plotted:
            return
        self._plotted = key
        legend.update(_legend(points, self.size.width))
        if points:
            plot.draw(points)


def _uncounted(view: RunView, home: Path | None) -> bool:
    """Whether a designer is paid for whose price is not known, so that nothing of it was counted."""
    goal = view.history.goal
    if goal is None or view.spent.money or not view.spent.tokens:
        return False
    try:
        return any(not own(name) and price_of(name, home or Path()) is None for name in designers_of(goal.designer))
    except SecateurError:  # of prices that cannot be read, who asks for a designer is told
        return True


def budget(spent: Spent, allowed: Budget, width: int, *, uncounted: bool = False) -> Content:
    """What was spent of what is allowed, one line each; bars where there is a limit and room for them."""
    rows = [
        ("candidates", float(spent.candidates), f"{spent.candidates:,}", allowed.candidates, "{:,}"),
        ("minutes", spent.minutes, f"{spent.minutes:.1f}", allowed.minutes, "{:,.1f}"),
        ("tokens", float(spent.tokens), f"{spent.tokens:,}", allowed.tokens, "{:,}"),
        ("money", spent.money, "not counted" if uncounted else f"${spent.money:.2f}", allowed.money, "${:,.2f}"),
    ]
    limits = ["no limit" if limit is None else f"of {form.format(limit)}" for *_, limit, form in rows]
    used, most = max(len(row[2]) for row in rows), max(map(len, limits))
    bars = 0 if width < _NARROW else min(_LIMIT_BAR, width - 10 - used - most - 6)
    lines = [
        Content.assemble(
            f"{name:<10}  {text:>{used}} {of:<{most}}  ",
            (f"{bar(value / limit, bars)}▏" if limit and bars > 0 else "", "$primary"),
        )
        for (name, value, text, limit, _), of in zip(rows, limits, strict=True)
    ]
    return Content("\n").join(lines)


def _stage(view: RunView, width: int) -> Content:
    """The stage with what it does, the time that went by and the time that is left."""
    step, clock = view.history.stages.step, [f"{short_time(60 * view.spent.minutes)} gone"]
    if step is None:
        return Content.assemble((view.doing, "bold"), f"\n{clock[0]}")
    since = max(0.0, (datetime.now(UTC) - step.started).total_seconds())
    clock.append(f"{short_time(since)} in this stage")
    if (left := eta(view.history)) is not None:
        clock.append(f"about {short_time(left)} to go")
    head = f"  {DOES.get(step.name, '')}".rstrip()
    return Content.assemble((step.name, "bold"), f"{head}\n{_detail(step, width)}{flow(clock, width)}")


def _detail(step: Step, width: int) -> str:
    counted = f"{step.done:,} of {step.total:,}" if step.total else ""
    parts = [part for part in (step.detail, counted, *step.facts) if part]
    return f"{flow(parts, width)}\n" if parts else ""


def _points(view: RunView, others: Sequence[Point]) -> list[Point]:
    """Past runs and what this one measured on the held-out text."""
    points = [*others]
    goal = view.history.goal
    for name, final in view.history.finals.items():
        measured = final.measurement
        if measured.kind == "perplexity":
            own = name in view.history.candidates or (goal is not None and name == goal.method)
            points.append(Point(name, measured.sparsity, measured.value, "result" if own else "reference"))
    return [point for point in points if math.isfinite(point.perplexity) and point.perplexity > 0]


def _legend(points: Sequence[Point], width: int) -> str:
    """What the marks mean, and the front in numbers."""
    if not points:
        return "Quality against size is plotted when something was measured on the held-out text."
    names = {"other": "other runs", "reference": "references", "result": "this run"}
    marks = [f"{mark} {names[kind]}" for kind, mark in MARKERS.items() if any(p.kind == kind for p in points)]
    best = [f"{p.label} {number(p.perplexity)} at {100 * p.sparsity:.1f} %" for p in front(points)]
    return f"{flow(['perplexity', *marks], width)}\n{flow(['best by size', *best], width)}"
