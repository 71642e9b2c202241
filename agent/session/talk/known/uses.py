"""Which candidates use a published method: its compensation, its allocation or its metric."""

from __future__ import annotations

from collections.abc import Callable

from runs.fold.history import History
from tools.expression import NAMED_ALLOCATIONS
from tools.recipe import Recipe
from tools.recipe.methods import RECIPES

MOST = 12
"""Candidates that are named."""


def uses(history: History, method: str) -> str:
    """How many candidates use it, which, and whether the winner or the leader does."""
    if history.goal is None:
        return "Nothing is measured yet."
    if not history.goal.searches:
        applied = history.goal.method
        return f"No candidates were searched: this run applies {applied or 'the recipe that was given'}."
    what, used = _used(method)
    if used is None:
        return f"Which candidates use {method} cannot be told: a recipe is not one of its parts here."
    measured = [name for name in history.candidates if name in history.divergences]
    found = [name for name in measured if used(history.candidates[name].recipe)]
    named = ", ".join(found[:MOST]) + (f" and {len(found) - MOST} more" if len(found) > MOST else "")
    of = f"{len(measured)} measured candidates"
    told = [f"{what}: {len(found)} of {of} use it, {named}." if found else f"{what}: none of {of} uses it."]
    told += [f"{method} was measured beside them as a reference." if _is_reference(history, method) else ""]
    return " ".join(filter(None, [*told, _of_best(history, found)]))


def _used(method: str) -> tuple[str, Callable[[Recipe], bool] | None]:
    """What is looked for, and how it is seen in a recipe."""
    if method in ("obs", "bias", "least_squares"):
        called = {"obs": "OBS", "least_squares": "least squares"}.get(method, method)
        return f"{called} (compensation)", lambda recipe: recipe.compensation.kind == method
    if method in NAMED_ALLOCATIONS:
        expression = NAMED_ALLOCATIONS[method][0]
        return (
            f"{method} (allocation)",
            lambda recipe: not recipe.allocation.uniform and recipe.allocation.expression == expression,
        )
    if method not in RECIPES or not RECIPES[method].pattern.zeros:  # of structures, the metric alone is not the method
        return method, None
    known = RECIPES[method]
    with_it = "" if known.compensation.kind == "none" else f" with {known.compensation}"
    return (
        f"{method} (metric {known.metric}{with_it})",
        lambda recipe: recipe.metric == known.metric and known.compensation.kind in ("none", recipe.compensation.kind),
    )


def _is_reference(history: History, method: str) -> bool:
    return method in history.finals or any(name == method for name, _ in history.references)


def _of_best(history: History, found: list[str]) -> str:
    ranked = history.ranked()
    best = history.winner or (ranked[0].id if ranked else "")
    if not best:
        return ""
    who = "The winner" if history.winner else "The best so far"
    return f"{who}, {best}, {'does' if best in found else 'does not'}."
