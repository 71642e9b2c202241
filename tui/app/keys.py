"""What keys do in the app, wherever the focus is."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.events import Event, Key
from textual.widgets import Input

from tui.app.commands import NAMED
from tui.app.face import Face
from tui.app.screens import Choice, Reading
from tui.app.side import Side
from tui.app.slash import SlashCommands
from tui.app.widgets.conversation import Conversation
from tui.app.widgets.prompt import Prompt

TWICE = 2.0
"""Seconds within which the second Ctrl+C leaves."""


class Keys(Face):
    """An app with a prompt, a conversation and panes. Letters are for the prompt; Escape means one thing at a time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="app.close"),
        Binding("escape", "hush", "Stop answer", id="app.hush"),
        Binding("escape", "clear", "Clear", id="app.clear"),
        Binding("escape", "slash('pause')", "Pause", id="app.pause"),
        Binding("pageup", "page(-1)", "Scroll", show=False, id="app.up"),
        Binding("pagedown", "page(1)", "Scroll", show=False, id="app.down"),
        Binding("end,ctrl+end", "follow", "To the end", show=False, id="app.end"),
        Binding("f1", "slash('help')", "Help", id="app.help"),
        *(Binding(f"f{n + 1},alt+{n}", f"pane({n})", f"Pane {n}", show=False, id=f"app.pane{n}") for n in range(1, 7)),
        Binding("ctrl+c", "leave", "Leave", show=False, priority=True, id="app.leave"),
        Binding("ctrl+q", "quit", "Quit", show=False, id="app.quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.slash = SlashCommands(self)
        self._conversation = Conversation()
        self._prompt = Prompt()
        self._side = Side()
        self._left = 0.0
        self._back = ""
        self._written = False
        """Whether letters are on their way to the prompt, which does not hold them yet."""

    def show_keys(self) -> None:
        """Bring the footer up to date where Escape means something else."""
        if (back := self._stepping_back) != self._back:
            self._back = back
            self.refresh_bindings()

    async def on_event(self, event: Event) -> None:
        """Keys for the prompt go there before anything else sees them, so that they come in the order of typing."""
        if isinstance(event, Key) and not event.is_forwarded:
            self._direct(event)
        await super().on_event(event)

    def _direct(self, key: Key) -> None:
        """What can be read is written into the prompt, wherever the focus is, and Enter sends what stands there: only
        fields to write in, and keys of what has the focus, stay where they are. Who writes closes what lies over it."""
        if not self._prompt.is_mounted:
            return
        writes = key.is_printable and bool(key.character)
        while writes and isinstance(self.screen, Choice | Reading):
            self.screen.dismiss()
        focused, line = self.focused, self._prompt.line
        if len(self.screen_stack) > 1 or isinstance(focused, Input):
            self._written = writes and focused is line
            return
        if (writes and key.key != "space") or (key.key in ("enter", "space") and (line.value or self._written)):
            self._written = writes
            self.screen.set_focus(line)

    def action_pane(self, number: int) -> None:
        """Show a pane; again closes it."""
        if self._side.turn(number):
            self.call_after_refresh(self.draw_pane)
        else:
            self._prompt.line.focus()

    @property
    def _stepping_back(self) -> str:
        """The action that Escape stands for now: close, stop an answer, clear the line, pause the run; or none."""
        attached = self.attached
        if self._side.has_keys or self._side.covers or self.focused is not self._prompt.line:
            return "close"
        if self.dialogue.busy:
            return "hush"
        if self._prompt.line.value:
            return "clear"
        return "slash" if attached is not None and attached.going and not attached.watching else ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape has one meaning at a time, which the footer shows."""
        if action in ("close", "hush", "clear") or (action, parameters) == ("slash", ("pause",)):
            return len(self.screen_stack) == 1 and action == self._stepping_back
        return True

    def action_close(self) -> None:
        """Close the pane that has the keys or lies over the conversation; the prompt has them again."""
        if self._side.has_keys or self._side.covers:
            self._side.close()
        self._prompt.line.focus()

    def action_hush(self) -> None:
        """End the answer that is under way."""
        self.dialogue.stop()

    def action_clear(self) -> None:
        """Empty the line."""
        self._prompt.line.value = ""

    def action_page(self, step: int) -> None:
        """Scroll the conversation by a page, wherever the focus is."""
        self._conversation.page(step)

    def action_follow(self) -> None:
        """Show the end of the conversation, and follow it."""
        self._conversation.action_follow()

    def action_leave(self) -> None:
        """Ctrl+C copies what is selected; twice it leaves."""
        if self.screen.get_selected_text():
            self.screen.action_copy_text()
            return
        if time.monotonic() - self._left < TWICE:
            self.exit()
            return
        self._left = time.monotonic()
        going = self.attached is not None and self.attached.working
        self.notify("Ctrl+C again leaves" + ("; the run goes on" if going else ""), timeout=TWICE)

    def action_slash(self, name: str) -> None:
        """A key that stands for a slash command."""
        self.slash.do(NAMED[name])
