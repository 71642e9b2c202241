"""Where events go: the journal first, then everybody who listens."""

from __future__ import annotations

from collections.abc import Callable

from runs.budget import Ledger
from runs.events import (
    CandidateMeasured,
    Event,
    Extended,
    FinalMeasured,
    Progress,
    ReferenceMeasured,
    Said,
    Stage,
    Unreadable,
)
from runs.fold.history import History
from runs.run import STOP, Run
from tools.recipe.measurement import Measurement

Listener = Callable[[Event], None]


class Recorder:
    """Appends events to a run's journal and keeps the history and the ledger that follow from it."""

    def __init__(self, run: Run, listen: Listener | None = None) -> None:
        self.run = run
        self.events: list[Event] = run.read()
        self.ledger = Ledger(run.goal.budget, self.events)
        self.history = History()
        for event in self.events:
            self.history.observe(event)
        self._listen = listen
        self.current = ""
        """The stage that is running."""

    def __call__(self, event: Event) -> None:
        """An event happens: it is on the disk before anybody acts on it, and it holds no secret."""
        event = self.run.journal.append(event)
        self.events.append(event)
        self.ledger.observe(event)
        self.history.observe(event)
        if self._listen is not None:
            self._listen(event)

    def hear(self) -> None:
        """Take what the person said since into the journal: there the designer reads it, and a stop ends the search."""
        for said in self.run.unheard(self.events):
            self(said)

    def stage(self, name: str, detail: str = "", total: int | None = None) -> None:
        """Tell what is running now."""
        self.current = name
        self(Stage(name=name, detail=detail, total=total))

    @property
    def measured(self) -> list[Measurement]:
        """All that the journal holds."""
        kinds = CandidateMeasured | ReferenceMeasured | FinalMeasured
        return [event.measurement for event in self.events if isinstance(event, kinds)]

    @property
    def incomplete(self) -> bool:
        """Whether lines of the journal are lost: some cannot be read, or a number of a candidate is left out."""
        numbers = [int(name.removeprefix("c-")) for name in self.history.candidates]
        return any(isinstance(event, Unreadable) for event in self.events) or max(numbers, default=0) > len(numbers)

    @property
    def said_stop(self) -> bool:
        """Whether the last thing the person said, since they asked to go on, is that the search shall end."""
        words = [event for event in self.events if isinstance(event, Said | Extended)]
        return bool(words) and isinstance(words[-1], Said) and words[-1].text == STOP

    def progress(self, stage: str) -> Callable[[int, int], None]:
        """A callback that reports steps of a stage."""
        return lambda done, total: self(Progress(stage=stage, done=done, total=total))
