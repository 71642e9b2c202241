"""A pane alone in a small app, and runs to show in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, TabbedContent, TabPane

from runs.events import Event
from tui.app.panes.pane import OpenCandidate, Pane
from tui.app.view import RunView


class Host(App[None]):
    """One pane and what it asked for."""

    def __init__(self, pane: Pane, *, tabbed: bool = False) -> None:
        super().__init__()
        self.pane, self.tabbed, self.opened = pane, tabbed, list[str]()

    def compose(self) -> ComposeResult:
        if not self.tabbed:
            yield self.pane
            return
        with TabbedContent():
            with TabPane("first", id="first"):
                yield Input(id="other")
            with TabPane("second", id="second"):
                yield self.pane

    def on_open_candidate(self, message: OpenCandidate) -> None:
        self.opened.append(message.candidate)

    @property
    def text(self) -> str:
        """The whole screen."""
        strips = self.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips)

    @property
    def words(self) -> str:
        """The screen as one line of words."""
        return " ".join(self.text.split())


def shown(
    pane: Pane, drive: Callable[[Host, Pilot[None]], Awaitable[None]], size: tuple[int, int] = (100, 40), **options: Any
) -> None:
    """Show the pane to `drive`."""

    async def play() -> None:
        host = Host(pane, **options)
        async with host.run_test(size=size) as pilot:
            await pilot.pause()
            await drive(host, pilot)

    asyncio.run(play())


def view_of(events: list[Event]) -> RunView:
    view = RunView()
    for event in events:
        view.observe(event)
    return view


async def settle(host: Host, pilot: Pilot[None]) -> None:
    await pilot.pause()
    await host.workers.wait_for_complete()
    await pilot.pause(0.1)  # the columns of a table take their width when nothing else is to be done
