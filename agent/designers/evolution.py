"""A conventional evolutionary algorithm: the control that says what published seeds and language models are worth.

The first population is drawn at random, not seeded with what is published; after that parents are drawn by tournament
and bred as by `builtin`. Where structures fall it is Self-Pruner's numeric loop: only the rates of layers evolve, by
mutation and crossover, over Wanda-sp's scores and without compensation; the finalists get it like anybody's.
"""

from __future__ import annotations

from agent.breeding.genes import Child, Pool
from agent.designers.builtin import Builtin
from agent.designers.random import POPULATION
from agent.kinds import kind_of
from agent.situation import Situation


class Evolution(Builtin):
    """Evolves from a random start."""

    name = "evolution"

    def seeds(self, situation: Situation) -> list[Child]:
        """A population at random, nothing published."""
        kind = kind_of(situation.goal.pattern)
        return [kind.start(situation) for _ in range(POPULATION)]

    def pool(self, situation: Situation) -> Pool:
        """What controls may use: where structures fall, rates alone."""
        return kind_of(situation.goal.pattern).control_pool(situation)
