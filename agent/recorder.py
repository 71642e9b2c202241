"""Where events go: the journal first, then everybody who listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from runs.budget import Ledger
from runs.events import Event, Progress, Stage
from runs.fold.history import History
from runs.run import STOP, Run


@runtime_checkable
class Records(Protocol):
    """What is told what happens, and knows what came of it."""

    history: History
    ledger: Ledger

    def __call__(self, event: Event) -> None:
        """An event happens."""
        ...


Listener = Callable[[Event], None]


class Recorder:
    """Appends events to a run's journal and keeps the history that follows from it."""

    def __init__(self, run: Run, listen: Listener | None = None) -> None:
        self.run = run
        self.history = run.history()
        self.ledger = self.history.ledger
        self._listen = listen
        self.current = ""
        """The stage that is running."""

    def __call__(self, event: Event) -> None:
        """An event happens: it is on the disk before anybody acts on it, and it holds no secret."""
        event = self.run.journal.append(event)
        self.history.observe(event)
        if self._listen is not None:
            self._listen(event)

    def hear(self) -> None:
        """Take what the person said since into the journal: there the designer reads it, and a stop ends the search."""
        for said in self.run.unheard(self.history):
            self(said)

    def stage(self, name: str, detail: str = "", total: int | None = None) -> None:
        """Tell what is running now."""
        self.current = name
        self(Stage(name=name, detail=detail, total=total))

    @property
    def said_stop(self) -> bool:
        """Whether the last thing the person said, since they asked to go on, is that the search shall end."""
        return self.history.last_said == STOP

    def progress(self, stage: str) -> Callable[[int, int], None]:
        """A callback that reports steps of a stage."""
        return lambda done, total: self(Progress(stage=stage, done=done, total=total))
