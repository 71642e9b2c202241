"""The plan of a search, as it is told before it starts: what it does, how far it can reach, how long it takes."""

from __future__ import annotations

from pathlib import Path

from agent.session.settings import Settings
from agent.session.talk.estimate import estimate, finished, held
from agent.session.talk.session import Session
from runs.fold.summary import summary
from runs.goal import Goal


def planned(goal: Goal, settings: Settings) -> str:
    """The plan and what it costs, as far as earlier runs tell."""
    lines = [
        f"Plan: {goal}, {_way(goal)}.",
        estimate(goal, settings.home),
        _reach(goal, settings.cache),
        "The model itself is not touched; the result goes into a folder of its own.",
    ]
    if goal.max_perplexity or goal.max_perplexity_rise:
        lines.append("Whether the perplexity that you ask for holds is measured at the end, on text nothing else saw.")
        lines += [told] if (told := held(goal, finished(settings.home))) else []
    return "\n".join(lines)


def _way(goal: Goal) -> str:
    """How what falls is found: by a search, or as it is said."""
    if not goal.searches:
        return f"by {goal.method}, which is applied without a search" if goal.method else "by the recipe that was given"
    budget = goal.budget
    parts = [f"{budget.candidates} candidates"] if budget.candidates else []
    parts += [f"{budget.minutes:g} minutes"] if budget.minutes else []
    return f"designer {goal.designer}, at most {' or '.join(parts)}"


def _reach(goal: Goal, cache: Path) -> str:
    from tools.prune.reach import foreseen

    reach = foreseen(goal.model, cache, goal.pattern)
    if reach is None:
        return "How much of the model that can reach is told once it is opened."
    return reach.warning(goal.pattern, goal.sparsity) or f"It reaches {reach}."


def from_here(session: Session, goal: Goal) -> str:
    """What it means that the model is the result of the run that is talked about; empty where it is another."""
    run = session.run
    if run is None or goal.model != str(run.model_folder):
        return ""
    found = summary(run.history())
    if found.recipe is None or found.winner is None:
        return ""
    gone = f"{100 * found.winner.sparsity:.1f} %"
    if found.recipe.pattern.zeros:
        return (
            f"It starts from the result of {run.id}: {gone} of its weights are zero already and count in the share. A "
            "zero scores lowest and falls first; only a compensation of weights brings a few back and drops others for "
            "them. What is compared with is that result, not the model before it."
        )
    return (
        f"It starts from the result of {run.id}, from which {gone} was cut: the share is of what is left, and what is "
        "compared with is that result, not the model before it."
    )
