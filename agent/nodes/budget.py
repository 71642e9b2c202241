"""What the budget of a run still allows, and why a search should end."""

from __future__ import annotations

from agent.context import Context
from agent.steering.reply import listens
from runs.budget import BudgetSpent
from runs.candidate import Candidate
from runs.designers import NEVER_ASKED

STOPPED = "the person asked to stop"


def room(context: Context, generation: int) -> int:
    """How many candidates the budget allows from this generation on."""
    allowed = context.recorder.ledger.budget.candidates
    history = context.recorder.history
    used = [c for c in history.before(generation) if c.id in history.divergences or c.id in history.failed]
    return 10**6 if allowed is None else max(0, allowed - len(used))


def seeding(context: Context, generation: int) -> bool:
    """Whether nothing was measured before this generation, so that it is one of seeds."""
    history = context.recorder.history
    return not any(candidate.id in history.divergences for candidate in history.before(generation))


def seeds_at_most(context: Context) -> int:
    """How many of the first generation may be measured: a language model is left at least half of the candidates."""
    allowed = context.recorder.ledger.budget.candidates
    speaks = listens(context.goal) or context.goal.designer.startswith("replay:")  # a replay does as was done
    return 10**6 if allowed is None or not speaks else max(1, allowed // 2)


def unasked(context: Context, why: str) -> str:
    """What is told where a language model was to design and never came to it; empty where it did."""
    history = context.recorder.history
    if not listens(context.goal) or history.dialogue:
        return ""
    tried = len(history.ledger.charged)
    if history.ledger.budget.candidates == tried and not any(c.generation for c in history.candidates.values()):
        why = f"seeds took all {tried} candidates" if tried > 1 else "the one candidate is a seed"
    return f"{NEVER_ASKED}: {why}"


def over(context: Context, candidate: Candidate) -> str:
    """Why a candidate, and what comes after it, may not be measured any more."""
    record = context.recorder
    if record.ends:
        return STOPPED
    try:
        record.ledger.check(() if candidate.id in record.ledger.charged else ("candidates",))
    except BudgetSpent as spent:
        return str(spent)
    return out_of_time(context)


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
        return STOPPED
    if room(context, generation + 1) <= 0:
        return f"the budget of {record.ledger.budget.candidates} candidates is spent"
    found = any(c.id in history.divergences for c in history.generation(generation))
    if not found and not _outrun(context, generation):
        return "no new candidate could be found"
    return out_of_time(context)


def _outrun(context: Context, generation: int) -> bool:
    """Whether all seeds fell to words that were said after they were proposed: others, which obey, can be."""
    proposed = context.obedience(context.recorder.history.heard_by(generation))
    return seeding(context, generation) and proposed.rules != context.obedience().rules
