"""What all panes have in common, and what they can ask the app for."""

from __future__ import annotations

from typing import ClassVar

from textual.containers import Vertical
from textual.message import Message

from tui.view import RunView


class OpenCandidate(Message):
    """The person wants to see a candidate in full."""

    def __init__(self, candidate: str) -> None:
        super().__init__()
        self.candidate = candidate


class Pane(Vertical):
    """One pane."""

    NAME: ClassVar[str]
    """What is written on its tab."""

    def show(self, view: RunView) -> None:
        """Bring what is shown up to date; cheap where nothing changed."""
        raise NotImplementedError
