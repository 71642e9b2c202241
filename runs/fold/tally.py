"""What a run has come to, folded from its events: the plain printer shows nothing that is not in here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from runs.events import (
    CandidateMeasured,
    CandidateRejected,
    Event,
    Extended,
    FinalMeasured,
    Progress,
    Recalled,
    ReferenceMeasured,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    Stage,
    SurveyDone,
    TasksAnswered,
)
from runs.fold.summary import number
from runs.goal import Budget, Goal
from tools.recipe.measurement import Measurement


def shown(measurement: Measurement) -> str:
    """A measured value with the digits a person compares, for example `KL 0.412` or `50.9`."""
    value = number(measurement.value)
    return f"KL {value}" if measurement.kind == "divergence" else value


def short_time(seconds: float) -> str:
    """`1:40` or `1:02:09`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
        return "   ".join(part for part in (self.detail, *self.facts) if part)


@dataclass
class Tally:
    """A fold over a run's events; `observe` takes them one by one."""

    run: str = ""
    goal: Goal | None = None
    budget: Budget = field(default_factory=Budget)
    """What may be spent; of minutes, those of the search at hand."""
    steps: list[Step] = field(default_factory=list)
    measured: dict[str, Measurement] = field(default_factory=dict)
    """Last divergence of every candidate by its id; finalists get a perplexity too, which is another matter."""
    failed: int = 0
    """Candidates that failed while they were measured."""
    _search_began: datetime | None = None
    _measured_before: int = 0
    _last: datetime | None = None

    @property
    def step(self) -> Step | None:
        """The stage that is running."""
        return self.steps[-1] if self.steps and self.steps[-1].seconds is None else None

    def observe(self, event: Event) -> Step | None:
        """Take one event; returns the stage that it brought to its end."""
        self._last = event.at
        match event:
            case RunStarted(run=run, goal=goal):
                self.budget = self.budget if self.run else goal.budget
                self.run, self.goal = run, goal
                self._search_began, self._measured_before = None, len(self.measured)
                return self._end(event)
            case Stage():
                return self._begin(event)
            case RunFinished() | RunFailed() | RunInterrupted():
                return self._end(event)
            case CandidateMeasured(candidate_id=name, measurement=measurement) if measurement.kind == "divergence":
                self.measured[name] = measurement
            case CandidateRejected(stage="measure"):
                self.failed += 1
            case Extended(candidates=more, minutes=longer):
                done = len(self.measured) + self.failed
                self.budget = Budget(candidates=None if more is None else done + more, minutes=longer)
            case _:
                self._note(event)
        return None

    def _note(self, event: Event) -> None:
        step = self.step
        if step is None:
            return
        match event:
            case Progress(stage=stage, done=done, total=total) if stage == step.name:
                step.done, step.total = done, total
            case SurveyDone(parameters=parameters, blocks=blocks, dtype=dtype):
                step.facts.append(f"{parameters / 1e6:,.1f} M parameters, {blocks} blocks, {dtype}")
            case Recalled(entries=entries):
                step.facts.append(f"{len(entries) or 'no'} past candidates of similar models")
            case FinalMeasured(name=name, measurement=measurement):
                where = "" if step.name == "test" else " (test)"
                step.facts.append(f"{name} {shown(measurement)}{where}")
            case TasksAnswered(name=name, scores=scores) if scores.mean is not None:
                step.facts.append(f"{name} {100 * scores.mean:.1f} % of tasks")
            case ReferenceMeasured(name=name, measurement=measurement):
                step.facts.append(f"{name} {shown(measurement)}")
            case _:
                pass

    def _begin(self, event: Stage) -> Step | None:
        step = self.step
        if step is not None and step.name == event.name:
            step.detail, step.total = event.detail or step.detail, event.total or step.total
            return None
        ended = self._end(event)
        self.steps.append(Step(event.name, event.at, event.detail, event.total))
        if event.name == "search" and self._search_began is None:
            self._search_began = event.at
        return ended

    def _end(self, event: Event) -> Step | None:
        step = self.step
        if step is None:
            return None
        step.seconds = (event.at - step.started).total_seconds()
        if step.name == "search":
            step.facts = [self.search]
        return step

    @property
    def best(self) -> str | None:
        """The candidate that leads: lowest value among those measured on the most tokens."""
        order = {name: (-m.tokens, m.value) for name, m in self.measured.items()}
        return min(order, key=order.__getitem__) if order else None

    @property
    def wanted(self) -> int | None:
        """How many candidates the budget allows."""
        return self.budget.candidates

    @property
    def search(self) -> str:
        """Progress of the search as one line."""
        total = f"/{self.wanted}" if self.wanted else ""
        parts = [f"candidate {len(self.measured) + self.failed}{total}"]
        if (best := self.best) is not None:
            parts.append(f"best {best} {shown(self.measured[best])}")
        if (left := self.eta) is not None:
            parts.append(f"eta {short_time(left)}")
        return "   ".join(parts)

    @property
    def eta(self) -> float | None:
        """Seconds until the search has spent its budget, judged by its pace so far."""
        step = self.step
        if step is None or step.name != "search" or self._search_began is None or self._last is None:
            return None
        spent = (self._last - self._search_began).total_seconds()
        ends = []
        done = len(self.measured) + self.failed - self._measured_before
        if self.wanted and done > 0:
            ends.append(spent / done * max(0, self.wanted - done - self._measured_before))
        if self.budget.minutes is not None:
            ends.append(max(0.0, 60 * self.budget.minutes - spent))
        return min(ends) if ends else None
