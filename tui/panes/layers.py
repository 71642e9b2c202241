"""Being written."""

from __future__ import annotations

from typing import Any

from tui.panes.pane import Pane
from tui.view import RunView


class LayersPane(Pane):
    NAME = "Layers"

    def __init__(self, *args: Any) -> None:
        super().__init__()

    def show(self, view: RunView) -> None:
        pass

    def choose(self, name: str) -> None:
        pass
