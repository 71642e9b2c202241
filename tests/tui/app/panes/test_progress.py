"""The pane of progress: budget, best and the front."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from runs.events import Stage
from runs.goal import Budget, Goal
from runs.report.front import front
from tests.tui.app.panes.host import Host, shown, view_of
from tui.app.panes.progress import ProgressPane
from tui.app.widgets.pareto import ParetoPlot, Point


def test_progress_shows_budget_best_and_the_front(new_story: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        pane.show(view_of(story.whole().events))
        pane.compare_with([("old-run", 0.6, 80.0), ("bad-run", 0.4, 90.0), ("broken", 0.5, float("inf"))])
        await pilot.pause()
        lines = [" ".join(line.split()) for line in host.text.splitlines()]
        assert lines[0] == "finished"
        assert "candidates 2 of 4 █████ ▏" in lines
        assert any(line.startswith("minutes") and line.endswith("no limit") for line in lines)
        assert any(line.startswith("money $0.00 of $2.00") for line in lines)
        assert "best KL 0.900 over 1 measurement of as many tokens" in lines
        assert "perplexity o other runs x references @ this run" in lines
        assert "best by size dense 22.8 at 0.0 % c-2 41.9 at 50.0 % old-run 80.0 at 60.0 %" in lines
        plot = "\n".join(line for line in host.text.splitlines() if "│" in line)
        assert [plot.count(mark) for mark in "ox@"] == [2, 2, 1]

    story = new_story(goal=Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=4, money=2.0)))
    pane = ProgressPane()
    shown(pane, drive)


def test_progress_tells_the_stage_and_leaves_out_plots_where_there_is_no_room(new_story: Any) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        events = story.start().survey().events
        pane.show(view_of([*events, Stage(at=story.at(), name="search")]))
        await pilot.pause()
        assert "search invents recipes and measures them" in host.words
        assert "Quality against size is plotted when" in host.words
        pane.show(view_of(story.whole().events))
        await pilot.pause()
        assert not pane.query_one(ParetoPlot).display
        assert "best by size dense 22.8 at 0.0 %" in host.words
        assert all(mark in host.words for mark in ("candidates", "minutes", "tokens", "money"))
        await pilot.resize_terminal(40, 40)
        await pilot.pause()
        assert pane.query_one(ParetoPlot).display
        await pilot.resize_terminal(30, 12)
        await pilot.pause()
        assert not pane.query_one(ParetoPlot).display

    story = new_story()
    pane = ProgressPane()
    shown(pane, drive, size=(40, 20))


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
def test_the_plot_is_drawn_in_every_theme(story: Any, theme: str) -> None:
    async def drive(host: Host, pilot: Pilot[None]) -> None:
        host.theme = theme
        pane.show(view_of(story.whole().events))
        await pilot.pause()
        assert "@" in host.text

    pane = ProgressPane()
    shown(pane, drive)


def test_the_front_is_what_no_other_beats() -> None:
    points = [Point("dense", 0, 20), Point("a", 0.5, 40), Point("b", 0.5, 50), Point("c", 0.4, 45), Point("d", 0.6, 80)]
    assert [point.label for point in front(points)] == ["dense", "a", "d"]
    assert front([]) == []
