"""How far the search of a run is, who leads it and how long it will take."""

from __future__ import annotations

from runs.fold.history import History
from runs.fold.words import short_time, shown


def standing(history: History) -> str:
    """Progress of the search as one line."""
    wanted = history.ledger.budget.candidates
    parts = [f"candidate {len(history.ledger.charged)}{f'/{wanted}' if wanted else ''}"]
    if (best := history.best) is not None:
        measured = history.divergences[best]
        parts.append(f"best {best} {shown(measured[max(measured)])}")
    if (left := eta(history)) is not None:
        parts.append(f"eta {short_time(left)}")
    return "   ".join(parts)


def eta(history: History) -> float | None:
    """Seconds until the search has spent its budget, judged by its pace so far; None where nothing is searched."""
    step, began, budget = history.stages.step, history.stages.search_began, history.ledger.budget
    if step is None or step.name != "search" or began is None or history.at is None:
        return None
    ends = []
    charged = len(history.ledger.charged)
    done = charged - history.stages.charged_before
    if budget.candidates and done > 0:
        spent = (history.at - began).total_seconds()
        ends.append(spent / done * max(0, budget.candidates - charged))
    if budget.minutes is not None:
        ends.append(max(0.0, 60 * (budget.minutes - history.ledger.settled.minutes)))
    return min(ends) if ends else None
