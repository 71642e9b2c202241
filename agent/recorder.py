"""Where events go: the journal first, then everybody who listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from agent.steering.reply import heeded
from agent.steering.words import stopped
from runs.budget import Ledger
from runs.events import Event, Progress, Stage
from runs.fold.history import History
from runs.run import Run


@runtime_checkable
class Records(Protocol):
    """What is told what happens, and knows what came of it."""

    history: History
    ledger: Ledger

    def __call__(self, event: Event) -> None:
        """An event happens."""
        ...


Listener = Callable[[Event], None]
LOOK = 0.5
"""Seconds between looks into the inbox while a model is asked."""


class Recorder:
    """Appends events to a run's journal and keeps the history that follows from it."""

    def __init__(self, run: Run, listen: Listener | None = None) -> None:
        self.run = run
        self.history = run.history()
        self.ledger = self.history.ledger
        self._listen = listen
        self._looked, self._waits = 0.0, False
        self.current = ""
        """The stage that is running."""

    def __call__(self, event: Event) -> None:
        """An event happens: it is on the disk before anybody acts on it, and it holds no secret."""
        event = self.run.journal.append(event)
        self.history.observe(event)
        if self._listen is not None:
            self._listen(event)

    def hear(self, before: str = "") -> None:
        """Take what the person said since into the journal, and answer each line with what changes from here on.

        Args:
            before: what comes next; the next candidate by default.
        """
        history, self._waits = self.history, False
        for said in self.run.unheard(history):
            self(said)
        for place in [place for place in history.orders if place >= history.heeded]:
            where = before or f"c-{len(history.candidates) + 1}"
            self(heeded(history.orders[place], place, where, self.run.goal, history))

    def stage(self, name: str, detail: str = "", total: int | None = None) -> None:
        """Tell what is running now."""
        self.current = name
        self(Stage(name=name, detail=detail, total=total))

    @property
    def said_stop(self) -> bool:
        """Whether the person said that the search shall end, since they asked for more, and did not take it back."""
        return stopped(self.history.words(since=self.history.extended_at))

    @property
    def ends(self) -> bool:
        """Whether a stop ends the search now: where nothing is measured yet, the first candidate still is, so that the
        run can conclude."""
        return self.said_stop and bool(self.history.divergences)

    def stopping(self) -> bool:
        """Whether a stop waits in the inbox, or was heard; looks at most twice a second."""
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self._waits = stopped(said.text for said in self.run.unheard(self.history))
        return self.said_stop or self._waits

    def progress(self, stage: str) -> Callable[[int, int], None]:
        """A callback that reports steps of a stage."""
        return lambda done, total: self(Progress(stage=stage, done=done, total=total))
