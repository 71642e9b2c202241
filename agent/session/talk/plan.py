"""The plan of a search, as it is told before it starts: what it does, how far it can reach, how long it takes."""

from __future__ import annotations

from pathlib import Path

from agent.session.settings import Settings
from agent.session.talk.past import readable
from runs.fold.summary import summary
from runs.goal import Goal
from runs.run import Status


def planned(goal: Goal, settings: Settings) -> str:
    """The plan and what it costs, as far as earlier runs tell."""
    budget = goal.budget
    parts = [f"{budget.candidates} candidates"] if budget.candidates else []
    parts += [f"{budget.minutes:g} minutes"] if budget.minutes else []
    lines = [
        f"Plan: {goal}, designer {goal.designer}, at most {' or '.join(parts)}{_estimate(goal, settings.home)}.",
        _reach(goal, settings.cache),
        "The model itself is not touched; the result goes into a folder of its own.",
    ]
    if goal.max_perplexity or goal.max_perplexity_rise:
        lines.append("Whether the perplexity that you ask for holds is measured at the end, on text nothing else saw.")
    return "\n".join(lines)


def _reach(goal: Goal, cache: Path) -> str:
    from tools.prune.reach import foreseen

    reach = foreseen(goal.model, cache, goal.pattern)
    if reach is None:
        return "How much of the model that can reach is told once it is opened."
    return reach.warning(goal.pattern, goal.sparsity) or f"It reaches {reach}."


def _estimate(goal: Goal, home: Path) -> str:
    for run in reversed(readable(home)):
        if run.goal.model == goal.model and run.goal.searches and goal.budget.candidates:
            history = run.history()
            if run.status(history) is Status.FINISHED and (tried := (found := summary(history)).spent.candidates):
                minutes = found.spent.minutes / tried * goal.budget.candidates
                return f" (about {max(1, round(minutes))} minutes, judged by run {run.id})"
    return " (no earlier run tells how long)"
