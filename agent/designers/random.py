"""Random search: the control that says what evolution and language models are worth. No LLM, no selection.

Every candidate is drawn anew: a random metric with random allocation and compensation; what was measured before is not
looked at. Everything around it is that of `builtin`, and so are the seeds where they are published recipes; where
structures fall most seeds are this program's own, so the control does without.
"""

from __future__ import annotations

from random import Random

from agent.breeding.genes import ALLOCATION_TERMINALS, GRANULARITIES, WIDEST, Child
from agent.breeding.trees import random_tree
from agent.designers import Situation
from agent.designers.builtin import Builtin
from agent.designers.shapes import drawn
from tools.expression import ALLOCATION, METRIC, format_expression, simplify
from tools.recipe import NM, Allocation, Compensation, Recipe, Structured

POPULATION = 8
"""Candidates of a first generation that is drawn."""


class RandomSearch(Builtin):
    """Draws candidates from the space that `builtin` searches."""

    name = "random"

    def seeds(self, situation: Situation) -> list[Child]:
        if not isinstance(situation.goal.pattern, Structured):
            return super().seeds(situation)
        return [draw(situation, situation.rng) for _ in range(POPULATION)]

    def child(self, situation: Situation) -> Child:
        return draw(situation, situation.rng)


def draw(situation: Situation, rng: Random) -> Child:
    """A candidate that owes nothing to those before it."""
    goal = situation.goal
    if isinstance(goal.pattern, Structured):
        return drawn(situation, goal.pattern, rng, "random")
    metric = simplify(random_tree(METRIC, rng, terminals=situation.pool.metric_terminals), METRIC, "row")
    compensation = situation.pool.compensation and rng.random() < 0.5
    recipe = Recipe(
        pattern=goal.pattern,
        sparsity=goal.sparsity,
        metric=format_expression(metric),
        allocation=_allocation(situation, rng),
        compensation=Compensation(kind="obs" if compensation else "none"),
        calibration=goal.calibration,
    )
    return Child(recipe, "draw", "drawn at random", (), designer="random")


def _allocation(situation: Situation, rng: Random) -> Allocation:
    if isinstance(situation.goal.pattern, NM) or rng.random() < 0.5:
        return Allocation()
    tree = simplify(random_tree(ALLOCATION, rng, terminals=ALLOCATION_TERMINALS), ALLOCATION, "matrix")
    width = round(rng.uniform(0.01, WIDEST), 3)
    return Allocation(expression=format_expression(tree), width=width, granularity=rng.choice(GRANULARITIES))
