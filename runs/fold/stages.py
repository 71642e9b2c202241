"""The stages of a run, each from its beginning to what follows it. A part of the fold, which tells it what happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from runs.fold.words import shown
from tools.recipe.measurement import Measurement


@dataclass
class Step:
    """One stage of the run, from its `Stage` event to what follows it."""

    name: str
    started: datetime
    detail: str = ""
    total: int | None = None
    done: int = 0
    facts: list[str] = field(default_factory=list)
    """What was found out while it ran."""
    seconds: float | None = None
    """None while it runs."""

    @property
    def text(self) -> str:
        """What it does and what it found out, on one line."""
        return "   ".join(part for part in (self.detail, *self.facts) if part)


@dataclass
class Stages:
    """All stages up to now, and since when the search at hand goes on."""

    steps: list[Step] = field(default_factory=list)
    search_began: datetime | None = None
    """When the engine that works now began to search."""
    charged_before: int = 0
    """Candidates that were measured before that engine began."""

    @property
    def step(self) -> Step | None:
        """The stage that is running."""
        return self.steps[-1] if self.steps and self.steps[-1].seconds is None else None

    def take_up(self, worked_last: datetime, charged: int) -> None:
        """An engine takes the run up: the pace of the search is judged anew. One that was killed before did not say
        when it ended: it is known to have worked until `worked_last`."""
        self.end(worked_last)
        self.search_began, self.charged_before = None, charged

    def begin(self, at: datetime, name: str, detail: str, total: int | None) -> None:
        """The stage `name` begins, or says more of itself where it is running."""
        step = self.step
        if step is not None and step.name == name:
            step.detail, step.total = detail or step.detail, total or step.total
            return
        self.end(at)
        self.steps.append(Step(name, at, detail, total))
        if name == "search" and self.search_began is None:
            self.search_began = at

    def end(self, at: datetime) -> None:
        """The running stage, if there is one, is over."""
        if (step := self.step) is not None:
            step.seconds = (at - step.started).total_seconds()

    def progress(self, name: str, done: int, total: int) -> None:
        """So many steps are done."""
        if (step := self.step) is not None and step.name == name:
            step.done, step.total = done, total

    def found(self, fact: str) -> None:
        """Something was found out by the running stage."""
        if (step := self.step) is not None:
            step.facts.append(fact)

    def found_on_test(self, name: str, measurement: Measurement) -> None:
        """A number on the held-out text; the stage `test` need not say of what text it is."""
        where = "" if self.step is not None and self.step.name == "test" else " (test)"
        self.found(f"{name} {shown(measurement)}{where}")
