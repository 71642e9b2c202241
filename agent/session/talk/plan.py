"""The plan of a search, as it is told before it starts: what it does, how far it can reach, how long it takes."""

from __future__ import annotations

from pathlib import Path

from agent.session.settings import Settings
from agent.session.talk.estimate import estimate, finished, held
from runs.goal import Goal


def planned(goal: Goal, settings: Settings) -> str:
    """The plan and what it costs, as far as earlier runs tell."""
    budget = goal.budget
    parts = [f"{budget.candidates} candidates"] if budget.candidates else []
    parts += [f"{budget.minutes:g} minutes"] if budget.minutes else []
    lines = [
        f"Plan: {goal}, designer {goal.designer}, at most {' or '.join(parts)}.",
        estimate(goal, settings.home),
        _reach(goal, settings.cache),
        "The model itself is not touched; the result goes into a folder of its own.",
    ]
    if goal.max_perplexity or goal.max_perplexity_rise:
        lines.append("Whether the perplexity that you ask for holds is measured at the end, on text nothing else saw.")
        lines += [told] if (told := held(goal, finished(settings.home))) else []
    return "\n".join(lines)


def _reach(goal: Goal, cache: Path) -> str:
    from tools.prune.reach import foreseen

    reach = foreseen(goal.model, cache, goal.pattern)
    if reach is None:
        return "How much of the model that can reach is told once it is opened."
    return reach.warning(goal.pattern, goal.sparsity) or f"It reaches {reach}."
