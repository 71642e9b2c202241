"""A conventional evolutionary algorithm: the control that says what published seeds and language models are worth.

The first population is drawn at random, not seeded with what is published; after that parents are drawn by tournament
and bred as by `builtin`. Where structures fall it is Self-Pruner's numeric loop: only the rates of layers evolve, by
mutation and crossover, over Wanda-sp's scores and without compensation; the finalists get it like anybody's.
"""

from __future__ import annotations

from agent.breeding.genes import Child, Pool
from agent.designers import Situation
from agent.designers.builtin import Builtin
from agent.designers.random import POPULATION, draw
from tools.recipe import Compensation, Structured

RATES_ONLY = Pool(frozenset(), compensation=False, metrics=False)


class Evolution(Builtin):
    """Evolves from a random start."""

    name = "evolution"

    def seeds(self, situation: Situation) -> list[Child]:
        return [self._start(situation) for _ in range(POPULATION)]

    def pool(self, situation: Situation) -> Pool:
        return RATES_ONLY if isinstance(situation.goal.pattern, Structured) else situation.pool

    def _start(self, situation: Situation) -> Child:
        child = draw(situation, situation.rng)
        if not isinstance(situation.goal.pattern, Structured):
            return child
        plain = child.recipe.model_copy(update={"metric": "W * X", "compensation": Compensation()})
        return Child(plain, child.operator, child.why, (), designer=self.name)
