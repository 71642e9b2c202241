"""The panes beside the conversation, or over it where the screen is narrow."""

from __future__ import annotations

from textual.containers import Vertical
from textual.widgets import TabbedContent

from agent.session.settings import Settings
from tui.app.panes.pane import Pane


class Side(Vertical):
    """Opened and closed by keys; what is around it follows the classes `open` and `closed` of its parent."""

    def __init__(self) -> None:
        super().__init__(id="side")
        self._tabs: TabbedContent | None = None

    async def furnish(self, settings: Settings) -> None:
        """Mount the panes, which takes a moment."""
        from tui.app.panes.all import panes

        made = panes(settings)
        await self.mount(made)
        self._tabs = made

    @property
    def furnished(self) -> bool:
        """Whether the panes are there."""
        return self._tabs is not None

    @property
    def pane(self) -> Pane | None:
        """The pane that is visible."""
        tabs = self._tabs
        if tabs is None or not self.display or (shown := tabs.active_pane) is None:
            return None
        found = shown.children[0]
        return found if isinstance(found, Pane) else None

    @property
    def has_keys(self) -> bool:
        """Whether the focus is in here."""
        focused = self.screen.focused
        return focused is not None and self in focused.ancestors

    @property
    def covers(self) -> bool:
        """Whether it lies over the conversation."""
        return self.display and self.screen.has_class("-narrow")

    def turn(self, number: int) -> bool:
        """Show a pane and give it the keys; again closes it. Returns whether it is open now."""
        tabs = self._tabs
        if tabs is None:
            return False
        chosen = f"pane-{number}"
        if tabs.active == chosen and self.display and (self.has_keys or self.covers):
            self.close()
            return False
        self._mark(opened=True)
        tabs.active = chosen
        self.call_after_refresh(self._take_keys)  # what is not displayed yet cannot have the focus
        return True

    def _take_keys(self) -> None:
        if (pane := self.pane) is not None:
            first = next((widget for widget in pane.query("*") if widget.focusable), pane)
            first.focus()

    def close(self) -> None:
        """The conversation has the whole width."""
        self._mark(opened=False)

    def _mark(self, *, opened: bool) -> None:
        if self.parent is not None:
            self.screen.query_one("#body").set_class(opened, "open").set_class(not opened, "closed")
