"""The panes in their order, each behind a tab and a key."""

from __future__ import annotations

from textual.widgets import TabbedContent, TabPane

from agent.session.settings import Settings
from tui.app.panes.candidates import CandidatesPane
from tui.app.panes.layers import LayersPane
from tui.app.panes.memory import MemoryPane
from tui.app.panes.progress import ProgressPane
from tui.app.panes.runs import RunsPane
from tui.app.panes.thoughts import ThoughtsPane


def panes(settings: Settings) -> TabbedContent:
    """All panes; F2 to F7 and Alt+1 to Alt+6 open them."""
    made = [
        CandidatesPane(),
        LayersPane(),
        ThoughtsPane(),
        ProgressPane(settings.home),
        RunsPane(settings),
        MemoryPane(settings.home),
    ]
    content = TabbedContent(id="panes")
    for number, pane in enumerate(made, 1):
        content.compose_add_child(TabPane(f"{number} {pane.NAME}", pane, id=f"pane-{number}"))
    return content
