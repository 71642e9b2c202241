"""Where a person types: one line, with the commands that a slash may become above it."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.widgets import Input, Static

from tui.app.commands import matching

_SHOWN = 8
INVITATION = "say what you want, / for commands"


class PromptLine(Input):
    """The input; up and down walk through what was said before, tab completes a command."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "before(-1)", "Earlier", show=False, id="prompt.earlier"),
        Binding("down", "before(1)", "Later", show=False, id="prompt.later"),
        Binding("end", "to_end", "To the end", show=False, id="prompt.end"),
        Binding("tab", "complete", "Complete", show=False, id="prompt.complete"),
    ]

    virtual_size: Reactive[Size] = Reactive(Size(0, 0), layout=False)
    """Its text scrolls within one row: another character must not lay out the whole screen."""

    def __init__(self) -> None:
        super().__init__(placeholder=INVITATION, compact=True, select_on_focus=False)
        self.said: list[str] = []
        self._place = 0

    def remember(self, text: str) -> None:
        """Put a line last among those that the arrows bring back, once."""
        self.said = [line for line in self.said if line != text] + [text]
        self._place = len(self.said)

    def action_before(self, step: int) -> None:
        """Go `step` lines on in what was said; after the newest comes an empty line."""
        self._place = min(max(self._place + step, 0), len(self.said))
        self.value = self.said[self._place] if self._place < len(self.said) else ""
        self.cursor_position = len(self.value)

    async def action_to_end(self) -> None:
        """The end of the line; from there, the end of the conversation."""
        if self.cursor_at_end:
            await self.run_action("app.follow")
        else:
            self.action_end()

    def action_complete(self) -> None:
        """The first command that fits; where nothing does, Tab goes to the next widget."""
        found = matching(self.value)
        if not found or " " in self.value:
            self.screen.focus_next()
            return
        self.value = f"/{found[0].name} "
        self.cursor_position = len(self.value)


class Prompt(Vertical):
    """`›` and the line."""

    DEFAULT_CSS = """
    Prompt { height: auto; }
    Prompt #hints { display: none; height: auto; max-height: 9; padding: 0 2; }
    Prompt #hints { color: $text-muted; background: $surface; }
    Prompt #busy { display: none; height: auto; max-height: 5; padding: 0 1; color: $text-muted; }
    Prompt Horizontal { height: 1; padding: 0 1; background: $surface; }
    Prompt #sign { width: 2; color: $accent; text-style: bold; }
    Prompt #sign.models { width: 9; color: $warning; }
    Prompt PromptLine { width: 1fr; background: $surface; }
    """

    class Sent(Message):
        """The person pressed Enter."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__()
        self.line = PromptLine()
        """What the person types in; there before it is shown and after, as answers may come at any time."""
        self._mark = Static("›", id="sign")

    def compose(self) -> ComposeResult:
        """What is under way and hints above, the line below."""
        yield Static(id="busy", markup=False)
        yield Static(id="hints")
        with Horizontal():
            yield self._mark
            yield self.line

    def offer(self, text: str, *, to_models: bool = False) -> None:
        """What Enter on an empty line would do, if anything, or who listens; another sign where models do."""
        self.line.placeholder = text or INVITATION
        self._mark.set_class(to_models, "models")
        self._mark.update("models ›" if to_models else "›")

    def busy(self, sign: str) -> None:
        """What is under way, and what waits; nothing is drawn where it says the same."""
        if sign != self._sign:
            self._sign = sign
            for line in self.query("#busy").results(Static):  # none where the app is being closed
                line.display = bool(sign)
                line.update(sign)

    _sign: str = ""

    @on(Input.Changed)
    def _hint(self, event: Input.Changed) -> None:
        hints, found = self.query_one("#hints", Static), matching(event.value)
        hints.display = bool(found)
        if found:
            width = max(len(c.usage) for c in found[:_SHOWN])
            lines = [f"{c.usage:<{width}}  {c.does}" for c in found[:_SHOWN]]
            more = [f"… {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
            hints.update(Content("\n".join([*lines, *more])))

    @on(Input.Submitted)
    def _send(self, event: Input.Submitted) -> None:
        event.stop()
        text = event.value.strip()
        if text:
            self.line.remember(text)
        self.line.value = ""
        self.post_message(self.Sent(text))
