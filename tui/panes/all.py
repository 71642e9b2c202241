"""The panes in their order, each behind a tab and a key."""

from __future__ import annotations

from textual.widgets import TabbedContent, TabPane

from tui.panes.candidates import CandidatesPane
from tui.panes.layers import LayersPane
from tui.panes.memory import MemoryPane
from tui.panes.progress import ProgressPane
from tui.panes.runs import RunsPane
from tui.panes.thoughts import ThoughtsPane
from tui.settings import Settings


def panes(settings: Settings) -> TabbedContent:
    """All panes; F2 to F7 and Alt+1 to Alt+6 open them."""
    made = [
        CandidatesPane(),
        LayersPane(),
        ThoughtsPane(),
        ProgressPane(),
        RunsPane(settings),
        MemoryPane(settings.home),
    ]
    content = TabbedContent(id="panes")
    for number, pane in enumerate(made, 1):
        content.compose_add_child(TabPane(f"{number} {pane.NAME}", pane, id=f"pane-{number}"))
    return content
