"""What all panes have in common, and what they can ask the app for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.containers import Vertical
from textual.message import Message

from tui.app.view import RunView

ORDER = ("candidates", "layers", "thoughts", "progress", "runs", "memory")
"""The panes from left to right."""


class OpenCandidate(Message):
    """The person wants to see a candidate in full."""

    def __init__(self, candidate: str) -> None:
        super().__init__()
        self.candidate = candidate


class OpenIds(Message):
    """The person wants to see what is behind the ids of an answer."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names


class Wanted(Message):
    """The person wants a command carried out on runs."""

    def __init__(self, command: str, runs: Sequence[str]) -> None:
        super().__init__()
        self.command = command
        self.runs = runs


class Pane(Vertical):
    """One pane."""

    NAME: ClassVar[str]
    """What is written on its tab."""

    def show(self, view: RunView) -> None:
        """Bring what is shown up to date; cheap where nothing changed."""
        raise NotImplementedError
