"""What is answered to words that steer: what is otherwise from here on, and what cannot be obeyed."""

from __future__ import annotations

from dataclasses import replace

from agent.kinds import KINDS
from agent.steering.rules import Ground, Limit, Steering
from agent.steering.words import CAN, Heard, goes_on, heard, steering, stops
from runs.budget import Ledger
from runs.events import Heeded
from runs.fold.history import History
from runs.goal import Goal

NOT_OBEYED = "not obeyed:"
"""How it begins to say that something stays as it was."""


def listens(goal: Goal) -> bool:
    """Whether the designer itself reads what a person says: a language model does, with its next prompt."""
    reads = goal.designer == "self" or (":" in goal.designer and not goal.designer.startswith("replay:"))
    return goal.searches and reads and goal.pattern.fells in KINDS


def ground(goal: Goal, history: History) -> Ground:
    """What decides whether words can be obeyed, as far as the run is known."""
    sizes = () if history.survey is None else history.survey.units.get("size", ())
    return Ground(goal, sizes)


def foreseen(text: str, goal: Goal, history: History, sizes: tuple[float, ...] = ()) -> str:
    """What will change with these words, for whoever says them; the engine answers the same when it has read them.

    Args:
        sizes: prunable weights of every block, where the run does not know them yet.
    """
    here = ground(goal, history)
    here = here if here.sizes else replace(here, sizes=sizes)
    found = heard(text, steering(history.words(), here), here)
    told = _told(found, goal, history.ledger)
    return f"{told[0].upper()}{told[1:]}."


def obeyed(goal: Goal, history: History) -> list[str]:
    """The lines that changed what the run does, without those that ended it or had it go on."""
    here, now, found = ground(goal, history), Steering(), list[str]()
    for line in history.words():
        said = heard(line, now, here)
        now = said.steering
        if (said.changes or said.limits) and not (said.refused or stops(line) or goes_on(line)):
            found.append(line)
    return found


def heeded(text: str, place: int, before: str, goal: Goal, history: History) -> Heeded:
    """The engine's answer to one line, `place` lines after the first."""
    here = ground(goal, history)
    found = heard(text, steering(history.words(place), here), here)
    limits = {limit.of: _whole(limit, history.ledger) for limit in found.limits}
    return Heeded(
        text=f"read before {before}: {_told(found, goal, history.ledger)}",
        words=place + 1 - history.heeded,
        candidates=None if (count := limits.get("candidates")) is None else int(count),
        minutes=limits.get("minutes"),
    )


def _told(found: Heard, goal: Goal, ledger: Ledger) -> str:
    parts = [*found.changes, *(f"at most {_whole(of, ledger):.3g} {of.of} in all" for of in found.limits)]
    parts += [f"{NOT_OBEYED} {reason}" for reason in found.refused]
    if found.unread and listens(goal):
        parts.append(f'{goal.designer} reads "{", ".join(found.unread)}" with its next prompt')
    elif found.unread:
        words = ", ".join(found.unread)
        parts.append(f'{NOT_OBEYED} "{words}" is nothing that designer {goal.designer} understands; it obeys {CAN}')
    return "; ".join(parts) or "nothing was said"


def _whole(limit: Limit, ledger: Ledger) -> float:
    """What a limit comes to on the whole run."""
    spent = getattr(ledger.settled, limit.of)
    allowed = getattr(ledger.budget, limit.of)
    if not limit.more:
        return limit.amount
    start = max(allowed, spent) if limit.beyond and allowed is not None else spent
    return float(start + limit.amount)
