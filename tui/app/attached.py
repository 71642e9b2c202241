"""A run that the app looks at: its events read bit by bit, and the engine if it was started here."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field

from agent.session.engines import Engine
from runs.run import Run
from tui.app.view import RunView


@dataclass
class Attached:
    """Reads what is new whenever it is asked; nothing is written to a run from here."""

    run: Run
    watching: bool = False
    """Whether it is only looked at: nothing typed reaches it."""
    engine: Engine | None = None
    view: RunView = field(default_factory=RunView)
    rang: bool = False
    """Whether the end was told."""
    _offset: int = 0
    _seen_at_work: bool = False

    def read(self) -> None:
        """Take what the journal has that is new."""
        if not self._offset:
            self._read_all()
            return
        events, self._offset = self.run.journal.since(self._offset)
        for event in events:
            self.view.observe(event)

    def _read_all(self) -> None:
        """The first look. Nothing of it is garbage, which the collector would search again and again."""
        gc.disable()
        try:
            events, self._offset = self.run.journal.since(0, settled=True)
            for event in events:
                self.view.observe(event)
            if events:  # a run that just begins is looked at again and again
                gc.freeze()
        finally:
            gc.enable()

    @property
    def working(self) -> bool:
        """Whether somebody works on it, or is about to."""
        return self.run.engine is not None or (self.engine is not None and not self.engine.gone)

    @property
    def going(self) -> bool:
        """Whether there is something to pause: an engine outlives the end of its run for a moment."""
        return self.working and self.view.state in ("new", "working")

    def look(self) -> str:
        """Notice an engine that died; returns why, where it was started here and failed, or that it is gone."""
        self._seen_at_work = self._seen_at_work or self.working
        if self.view.state in ("working", "new") and not self.working:
            self.read()  # what it wrote last
            if self.view.state == "working":
                self.view.history.died()
                if self.engine is None and self._seen_at_work:
                    return f"the engine of run {self.run.id} is gone; /resume goes on where it stopped"
        if self.engine is None or not self.engine.gone:
            return ""
        problem, self.engine = self.engine.problem, None
        return problem
