"""Budgets: what a run may spend (`Budget`), and a ledger of what it has spent, which the fold of its journal keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

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


@dataclass
class Ledger:
    """What was spent against a budget. It knows no events: the fold of the journal tells it what they cost."""

    asked: Budget = field(default_factory=Budget)
    """What the goal allows."""
    charged: set[str] = field(default_factory=set)
    """Candidates that cost a measurement."""
    tokens: int = 0
    money: float = 0.0
    _extension: dict[str, Any] = field(default_factory=dict)
    _seconds: float = 0.0
    _last: datetime | None = None

    @property
    def budget(self) -> Budget:
        """What may be spent on the whole, with what a person allowed since."""
        return self.asked.model_copy(update=self._extension)

    def extend(self, candidates: int | None, minutes: float | None) -> None:
        """Allow so much more than is spent; the one that is not named is not limited any more."""
        self._extension = {
            "candidates": None if candidates is None else len(self.charged) + candidates,
            "minutes": None if minutes is None else self._seconds / 60 + minutes,
        }

    def limit(self, candidates: int | None, minutes: float | None) -> None:
        """Allow so much on the whole; what is not named stays as it is."""
        given = {"candidates": candidates, "minutes": minutes}
        self._extension = self._extension | {of: amount for of, amount in given.items() if amount is not None}

    def begin(self, at: datetime) -> None:
        """Somebody takes the run up: what went by before was nobody's work."""
        self._last = at

    def work_until(self, at: datetime) -> None:
        """Charge the time since it was charged last."""
        if self._last is not None:
            self._seconds += max(0.0, (at - self._last).total_seconds())
        self._last = at

    @property
    def worked_last(self) -> datetime | None:
        """When the engine that works was last known to; None where nobody works."""
        return self._last

    def stand_still(self) -> None:
        """Nobody works any more."""
        self._last = None

    @property
    def settled(self) -> Spent:
        """What was spent up to the last event."""
        return self._spent(0.0)

    @property
    def spent(self) -> Spent:
        """What was spent up to now, the time since the last event included."""
        running = 0.0 if self._last is None else (datetime.now(UTC) - self._last).total_seconds()
        return self._spent(max(0.0, running))

    def _spent(self, running: float) -> Spent:
        return Spent(len(self.charged), (self._seconds + running) / 60, self.tokens, self.money)

    def check(self, limits: Sequence[Limit] = ("candidates", "minutes", "tokens", "money")) -> None:
        """Return if there is something left of all of these.

        Raises:
            BudgetSpent: a limit is reached.
        """
        spent, budget = self.spent, self.budget
        for limit in limits:
            allowed = getattr(budget, limit)
            if allowed is not None and getattr(spent, limit) >= allowed:
                raise BudgetSpent(limit, allowed, spent)
