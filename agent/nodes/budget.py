"""What the budget of a run still allows, and why a search should end."""

from __future__ import annotations

from agent.context import Context
from runs.budget import BudgetSpent


def room(context: Context, generation: int) -> int:
    """How many candidates the budget allows from this generation on."""
    allowed = context.recorder.ledger.budget.candidates
    history = context.recorder.history
    used = [c for c in history.before(generation) if c.id in history.divergences or c.id in history.failed]
    return 10**6 if allowed is None else max(0, allowed - len(used))


def out_of_time(context: Context) -> str:
    """Why nothing more may be measured; candidates are counted when a generation is designed."""
    try:
        context.recorder.ledger.check(("minutes", "tokens", "money"))
    except BudgetSpent as spent:
        return str(spent)
    return ""


def enough(context: Context, generation: int) -> str:
    """Why the search should end now: the person says so, the budget is spent, or nothing new could be found."""
    record, history = context.recorder, context.recorder.history
    if record.said_stop:
        return "the person asked to stop"
    if room(context, generation + 1) <= 0:
        return f"the budget of {record.ledger.budget.candidates} candidates is spent"
    if not any(c.id in history.divergences for c in history.generation(generation)):
        return "no new candidate could be found"
    return out_of_time(context)
