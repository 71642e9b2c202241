"""The conversation: entries from top to bottom, the newest at the end, only a window of them mounted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.widget import AwaitMount
from textual.widgets import Static

from tui.app.panes.pane import OpenIds, Wanted
from tui.app.view import Earlier, Ending, Generation, RunView
from tui.app.widgets.entries import Line, Said, widget_of

WINDOW = 40
"""Entries that stay mounted; each costs time on every layout, so a long run would become slow."""
MINIMUM = 10
PADDING = 3
"""Columns at both sides of a line."""
SURPLUS = 20
"""More than so many beyond the window are unmounted together."""


class Conversation(VerticalScroll):
    """Up and down move a cursor over the entries, Enter opens one, Alt+C copies it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False, id="conversation.up"),
        Binding("down", "move(1)", "Down", show=False, id="conversation.down"),
        Binding("enter", "open", "Open", id="conversation.open"),
        Binding("alt+c", "copy", "Copy", id="conversation.copy"),
        Binding("end", "follow", "To the end", show=False, id="conversation.end"),
        Binding("home", "earlier", "Earlier", show=False, id="conversation.earlier"),
    ]
    DEFAULT_CSS = """
    Conversation { height: 1fr; scrollbar-size-vertical: 1; }
    Conversation #earlier { color: $text-muted; padding: 0 2; text-style: italic; }
    """

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False)
    """Longer text moves the scroll bar, which needs no second layout."""

    class Unread(Message):
        """So many entries came while the person reads further up."""

        def __init__(self, count: int) -> None:
            super().__init__()
            self.count = count

    def __init__(self) -> None:
        super().__init__()
        self._view = RunView()
        self._widgets: dict[int, Line | Said] = {}
        self._cursor: int | None = None
        self._unread = 0
        self._drawing = asyncio.Lock()
        """One at a time opens a run or draws what is new: both mount entries, and each once."""

    async def open(self, view: RunView) -> None:
        """Show another run from its end."""
        async with self._drawing:
            await self._open(view)

    async def _open(self, view: RunView) -> None:
        self._view, self._widgets, self._cursor, self._unread = view, {}, None, 0
        await self.remove_children()
        view.drain()
        rows = max(MINIMUM, self.size.height)  # an entry has a row at least
        await self._mount([index for index in range(len(view.entries)) if view.visible(index)][-rows:])
        self.anchor()
        self.scroll_end(animate=False)

    async def catch_up(self) -> None:
        """Show what is new or changed."""
        async with self._drawing:
            await self._catch_up()

    async def _catch_up(self) -> None:
        changed = self._view.drain()
        first = min(self._widgets, default=0)
        seen = [index for index in changed if self._view.visible(index)]
        fresh = [index for index in seen if index not in self._widgets and index >= first]
        for index in changed:
            if index in self._widgets and index in seen:
                self._widgets[index].show(self._view)
            elif index in self._widgets:
                await self._widgets.pop(index).remove()
        if fresh:
            await self._mount(fresh)
            self._count(len(fresh))
            await self._trim()

    def redraw_generations(self) -> None:
        """What goes on in a generation, and who leads, stands in its line."""
        for widget in self._widgets.values():
            if isinstance(widget, Line) and isinstance(widget.entry, Generation):
                widget.show(self._view)

    async def _mount(self, indices: Sequence[int], before: Line | Said | None = None) -> None:
        made = {index: widget_of(self._view.entries[index]) for index in indices}
        for widget in made.values():
            widget.show(self._view, max(0, self.scrollable_content_region.width - PADDING))
        mounted: AwaitMount = self.mount_all(made.values(), before=before)
        await mounted
        self._widgets = dict(sorted((self._widgets | made).items()))
        await self._tell_earlier()

    async def _trim(self) -> None:
        """Unmount the oldest where the person does not read them."""
        surplus = len(self._widgets) - WINDOW
        if surplus < SURPLUS or not self.at_end:
            return
        gone = list(self._widgets)[:surplus]
        await self.remove_children([self._widgets.pop(index) for index in gone])
        await self._tell_earlier()

    async def _tell_earlier(self) -> None:
        before = len(self._before(min(self._widgets, default=0)))
        line = self.query("#earlier")
        if not before:
            await line.remove()
        elif line:
            line.first(Static).update(_earlier(before))
        else:
            await self.mount(Static(_earlier(before), id="earlier", markup=False), before=0)

    def _before(self, first: int) -> list[int]:
        """Entries above one that have a place of their own."""
        return [index for index in range(first) if self._view.visible(index)]

    @property
    def at_end(self) -> bool:
        """Whether the newest entries are in sight, give or take two rows."""
        return self.scroll_offset.y >= self.max_scroll_y - 2

    def _count(self, fresh: int) -> None:
        self._unread = 0 if self.at_end else self._unread + fresh
        self.post_message(self.Unread(self._unread))

    def watch_scroll_y(self, old: float, new: float) -> None:
        """Who comes to the end has read everything."""
        super().watch_scroll_y(old, new)
        if self._unread and self.at_end:
            self._count(0)

    def page(self, step: int) -> None:
        """A page up or down; at the end it follows again."""
        self.release_anchor()
        if step < 0:
            self.scroll_page_up(animate=False)
        elif self.scroll_offset.y + self.size.height >= self.max_scroll_y:
            self.action_follow()
        else:
            self.scroll_page_down(animate=False)

    def action_follow(self) -> None:
        """Go to the end and stay there, without a cursor."""
        self._point(None)
        self.anchor()
        self.scroll_end(animate=False)
        self._count(0)

    async def action_earlier(self) -> None:
        """What was unmounted comes back, a window at a time."""
        first = min(self._widgets, default=0)
        if self._before(first):
            oldest = self._widgets[first]
            await self._mount(self._before(first)[-WINDOW:], before=oldest)
            oldest.scroll_visible(animate=False, top=True)
        else:
            self.scroll_home(animate=False)

    def action_move(self, step: int) -> None:
        """Move the cursor; it comes in from the end."""
        known = list(self._widgets)
        if not known:
            return
        place = len(known) if self._cursor not in self._widgets else known.index(self._cursor)
        self._point(known[min(max(place + step, 0), len(known) - 1)])

    def _point(self, index: int | None) -> None:
        if self._cursor in self._widgets:
            self._widgets[self._cursor].remove_class("cursor")
        self._cursor = index
        if index is not None:
            self._widgets[index].add_class("cursor")
            self._widgets[index].scroll_visible(animate=False)

    async def action_open(self) -> None:
        """What an answer names opens; an earlier run is shown; anything else unfolds in place."""
        if self._cursor not in self._widgets:
            return
        widget = self._widgets[self._cursor]
        if isinstance(widget.entry, Earlier):
            self.post_message(Wanted("open", [widget.entry.run]))
        elif isinstance(widget.entry, Ending):
            self.post_message(Wanted("next", []))
        elif isinstance(widget, Line) and widget.opens:
            self.post_message(OpenIds(widget.opens))
        else:
            widget.toggled = not widget.toggled
            widget.show(self._view)

    async def on_click(self, event: Click) -> None:
        """A click is the cursor and Enter at once; a drag selects text."""
        if self.screen.get_selected_text():
            return
        for index, widget in self._widgets.items():
            if event.widget is not None and widget in event.widget.ancestors_with_self:
                self._point(index)
                await self.action_open()
                return
        if event.widget is not None and event.widget.id == "earlier":
            await self.action_earlier()

    def action_copy(self) -> None:
        """The entry under the cursor, to the clipboard."""
        if self._cursor in self._widgets:
            self.app.copy_to_clipboard(self._widgets[self._cursor].copied)
            self.notify("copied", timeout=2, markup=False)


def _earlier(count: int) -> str:
    return f"… {count:,} earlier entries: Home or a click shows more"
