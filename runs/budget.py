"""Budgets: what a run may spend (`Budget`), and a ledger of what it has spent.

The ledger is a fold over the journal, so a resumed run goes on with what was already spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from runs.events import (
    Answered,
    CandidateMeasured,
    CandidateRejected,
    Event,
    Extended,
    Replied,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
    Said,
)
from runs.goal import Budget
from tools.io.errors import SecateurError

__all__ = ["Budget", "BudgetSpent", "Ledger", "Spent"]

Limit = Literal["candidates", "minutes", "tokens", "money"]


@dataclass(frozen=True)
class Spent:
    """What a run has spent so far, in the units of `Budget`."""

    candidates: int = 0
    minutes: float = 0.0
    tokens: int = 0
    money: float = 0.0

    def __str__(self) -> str:
        parts = [f"{self.candidates} candidates", f"{self.minutes:.1f} minutes"]
        parts += [f"{self.tokens:,} tokens"] if self.tokens else []
        parts += [f"${self.money:.2f}"] if self.money else []
        return ", ".join(parts)


class BudgetSpent(SecateurError):
    """A limit is reached; `limit` names it and `spent` is what was spent."""

    def __init__(self, limit: str, allowed: float, spent: Spent) -> None:
        super().__init__(f"the budget of {allowed:g} {limit} is spent ({spent})")
        self.limit = limit
        self.spent = spent


class Ledger:
    """What was spent against a budget, kept by observing every event of the run."""

    def __init__(self, budget: Budget, events: Iterable[Event] = ()) -> None:
        """Start with what the journal's `events` already spent."""
        self.budget = budget
        self._charged: set[str] = set()
        self._seconds = 0.0
        self._tokens = 0
        self._money = 0.0
        self._last: datetime | None = None
        for event in events:
            self.observe(event)
        # Whoever wrote these events may be long dead: the clock goes on with the next event, not from the last one.
        self._last = None

    def observe(self, event: Event) -> None:
        """Charge one event that just happened."""
        self._charge_time(event)
        match event:
            case CandidateMeasured(candidate_id=name, measurement=found) if found.kind == "divergence":
                self._charged.add(name)
            case CandidateRejected(candidate_id=name, stage="measure"):
                self._charged.add(name)
            case Extended(candidates=more, minutes=longer):
                self.budget = self.budget.model_copy(
                    update={
                        "candidates": None if more is None else len(self._charged) + more,
                        "minutes": None if longer is None else self._seconds / 60 + longer,
                    }
                )
            case Answered(tokens_in=read, tokens_out=written, money=money):
                self._tokens += read + written
                self._money += money
            case _:
                pass

    def _charge_time(self, event: Event) -> None:
        if isinstance(event, Said | Replied | Extended):
            return  # somebody talks, whether or not the engine works
        if self._last is not None and not isinstance(event, RunStarted):
            self._seconds += max(0.0, (event.at - self._last).total_seconds())
        ended = isinstance(event, RunFinished | RunFailed | RunInterrupted)
        self._last = None if ended else event.at

    def stand_still(self) -> None:
        """Nobody works any more, though no event said so."""
        self._last = None

    @property
    def spent(self) -> Spent:
        """What was spent up to now, the time since the last event included."""
        running = 0.0 if self._last is None else (datetime.now(UTC) - self._last).total_seconds()
        minutes = (self._seconds + max(0.0, running)) / 60
        return Spent(len(self._charged), minutes, self._tokens, self._money)

    @property
    def candidates_left(self) -> int | None:
        """How many candidates may still be measured; None when nothing limits them."""
        allowed = self.budget.candidates
        return None if allowed is None else max(0, allowed - len(self._charged))

    def check(self, limits: Sequence[Limit] = ("candidates", "minutes", "tokens", "money")) -> None:
        """Return if there is something left of all of these.

        Raises:
            BudgetSpent: a limit is reached.
        """
        spent = self.spent
        for limit in limits:
            allowed = getattr(self.budget, limit)
            if allowed is not None and getattr(spent, limit) >= allowed:
                raise BudgetSpent(limit, allowed, spent)
