"""Evolution of what falls on two sides, whole experts and width: their shares and the choice of experts are genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from agent.breeding.genes import Child, Operator, Parent, Pool, child_of, mix, mutate_metric
from agent.breeding.shapes import SHAPES
from tools.prune.experts_and_width.pattern import ExpertsAndWidth
from tools.recipe import Recipe

STEPS = (0.1, 0.2, 0.4)
"""Of the share of experts; as they are few, less seldom makes a difference."""


def sides_of(recipe: Recipe) -> ExpertsAndWidth:
    """The recipe's pattern, which must be one of both sides."""
    assert isinstance(recipe.pattern, ExpertsAndWidth), "these operators are for experts and width"
    return recipe.pattern


def shift(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Experts against width: one side pays more, the other less."""
    pattern, step = sides_of(parent.recipe), rng.choice(STEPS) * rng.choice((-1, 1))
    share = round(min(1.0, max(0.0, pattern.share + step)), 2)
    why = f"experts pay {100 * share:.3g} % of what falls, no longer {100 * pattern.share:.3g} %"
    return child_of(parent, "shift", why, pattern=pattern.model_copy(update={"share": share}))


def choose_otherwise(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
    """Experts by the other of the two published scores."""
    pattern = sides_of(parent.recipe)
    if not pattern.share:
        return None
    by = "frequency" if pattern.by == "reap" else "reap"
    why = f"experts are chosen by {by}, no longer by {pattern.by}"
    return child_of(parent, "choose otherwise", why, pattern=pattern.model_copy(update={"by": by}))


def of_width(operator: Operator) -> Operator:
    """An operator on structures, for the side that is width; nothing where there is none."""

    def applied(parent: Parent, other: Parent, pool: Pool, rng: Random) -> Child | None:
        pattern = sides_of(parent.recipe)
        if pattern.share == 1:
            return None
        recipe = parent.recipe.model_copy(update={"pattern": pattern.width})
        child = operator(replace(parent, recipe=recipe), other, pool, rng)
        if child is None:
            return None
        return replace(child, recipe=child.recipe.model_copy(update={"pattern": pattern}))

    return applied


SHIFTS: Sequence[tuple[Operator, float]] = (
    (shift, 4.0),
    (choose_otherwise, 1.5),
    *((of_width(operator), weight) for operator, weight in SHAPES),
)
"""Operators on both sides with their weights, but for the metric."""
METRICS: Sequence[tuple[Operator, float]] = ((of_width(mix), 2.0), (of_width(mutate_metric), 1.0))
